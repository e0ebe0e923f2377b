package driver

import (
	"context"
	"time"

	"github.com/maildriver/maildriver/spool"
)

func (s *session) loopRule() spool.LoopbackRule {
	return spool.LoopbackRule{Interval: s.set.LoopbackInterval}
}

// loopProfile is what a sender is blocked for: the profile, or, if the host
// named none, the mailbox.
func (s *session) loopProfile() string {
	if s.common.Profile != "" {
		return s.common.Profile
	}
	return s.src.Server + "/" + s.src.Account + "/" + s.src.Folder
}

// loadLoopback takes in what other programs on the spool recorded. Its failure
// costs no mail, it only lets more of them through.
func (s *session) loadLoopback() {
	if s.set.LoopbackInterval <= 0 {
		return
	}
	l := s.common.Spool.Loopback()
	if err := l.Load(); err != nil {
		s.log.Warn("loopback state not read", "error", err)
	}
	for _, w := range l.Warnings() {
		s.log.Warn("loopback state", "warning", w)
	}
	l.Purge(time.Now())
}

// flushLoopback writes the state, at the end of a session.
func (s *session) flushLoopback(ctx context.Context) {
	if s.set.LoopbackInterval <= 0 {
		return
	}
	if err := s.common.Spool.Loopback().Flush(context.WithoutCancel(ctx)); err != nil {
		s.log.Warn("loopback state not saved", "error", err)
	}
}
