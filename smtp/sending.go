package smtp

import (
	"context"
	"errors"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// A sending is one call of Send.
type sending struct {
	driver  *Driver
	message *driver.Message
	set     *settings
	common  *driver.Common
	primary *relay
	backup  *relay // nil without

	source  *source
	env     *envelope
	results []result
	addr    string // of the server tried last
	reached bool   // a connection was made
}

func (s *sending) run(ctx context.Context) (driver.Receipt, error) {
	begin := time.Now()
	s.addr = s.primary.addr
	s.results = make([]result, len(s.message.To))
	s.source = &source{driver: s.driver, message: s.message, set: s.set, common: s.common}
	f := s.try(ctx)
	rec, err := conclude(s.message, s.addr, s.results, f)
	if !s.reached {
		rec.Server = ""
	}
	rec.BodyFile = s.longBody(ctx, rec.Delivery)
	rec.SavedFile = s.source.keep(rec.Delivery)
	s.source.whole.content.release()
	s.log(&rec, err, time.Since(begin))
	return rec, err
}

// try does everything up to the last reply.
func (s *sending) try(ctx context.Context) *failure {
	var err error
	if s.env, err = newEnvelope(s.message, s.set.notify); err != nil {
		return &failure{StageMAIL, driver.KindPermanent, driver.DeliveryRejected, err}
	}
	if err := s.source.prepare(ctx); err != nil {
		return contextFailure(ctx, sourceFailure("prepare", err))
	}
	if s.env.wantsEnvID() {
		id := s.message.MessageID
		if id == "" {
			id = s.source.whole.content.messageID(ctx)
		}
		s.env.envID, _ = encodeEnvID(id) // one that is too long or odd is left out
	}
	if l := s.driver.limiter; l != nil {
		if err := l.wait(ctx, len(s.env.to)); err != nil {
			return contextFailure(ctx, failed("wait", err))
		}
	}
	if s.backup == nil {
		f, _ := s.through(ctx, s.primary)
		return f
	}
	return s.withBackup(ctx)
}

// withBackup makes one pass over both servers, the one that is believed to
// work first.
func (s *sending) withBackup(ctx context.Context) *failure {
	h := s.driver.health
	backupFirst, probe := h.begin()
	order := []*relay{s.primary, s.backup}
	if backupFirst {
		order = []*relay{s.backup, s.primary}
	}
	var tries []*driver.Error
	for _, r := range order {
		f, over := s.through(ctx, r)
		if r == s.primary {
			s.judge(ctx, f, over, probe || backupFirst)
		} else {
			over = over || incapable(f)
		}
		if !over {
			return f
		}
		s.common.Logger.Warn("a server could not be used", "driver", driverName, "profile", s.common.Profile, "addr", r.addr, "error", f.Error())
		tries = append(tries, &driver.Error{Op: f.op, Driver: driverName, Addr: r.addr, Kind: f.kind, Err: f.err})
	}
	both := &failoverError{tries}
	return &failure{"failover", both.kind(), driver.DeliveryDeferred, both}
}

// judge notes what the try of the first server says about it.
func (s *sending) judge(ctx context.Context, f *failure, over, probe bool) {
	h, log := s.driver.health, s.common.Logger
	switch {
	case over:
		if until, left := h.bad(probe); left {
			log.Warn("the backup server is used from now on", "driver", driverName, "profile", s.common.Profile, "addr", s.primary.addr, "backup", s.backup.addr, "until", until)
		}
	case ctx.Err() != nil || f != nil && f.delivery == driver.DeliveryUnknown || !s.reached:
		h.none(probe)
	default:
		if h.good(probe) {
			log.Info("the first server is back", "driver", driverName, "profile", s.common.Profile, "addr", s.primary.addr)
		}
	}
}

// through sends to all recipients that have no result yet, through r. over
// tells that another server may be tried for those that are left.
func (s *sending) through(ctx context.Context, r *relay) (f *failure, over bool) {
	s.addr, s.reached = r.addr, false
	for {
		t := &transaction{source: s.source, env: s.env, set: s.set, results: s.results}
		for i := range s.results {
			if !s.results[i].decided && len(t.to) < s.set.maxRecipients {
				t.to = append(t.to, i)
			}
		}
		if len(t.to) == 0 {
			return nil, false
		}
		reached, err := r.send(ctx, t)
		s.reached = s.reached || reached
		if err != nil {
			f = contextFailure(ctx, failed(StageMAIL, err))
			return f, failsOver(ctx, f, t, s.set)
		}
	}
}

// contextFailure gives a failure that the end of the context caused the kind
// that this has, where the step did not know it.
func contextFailure(ctx context.Context, f *failure) *failure {
	if ctx.Err() != nil && f.kind != driver.KindAmbiguous && errors.Is(f.err, context.Cause(ctx)) {
		f.kind = driver.KindTemporary
		if errors.Is(f.err, driver.ErrClosed) {
			f.kind = driver.KindClosed
		}
	}
	return f
}

func (s *sending) log(rec *driver.Receipt, err error, took time.Duration) {
	args := []any{
		"driver", driverName, "profile", s.common.Profile, "addr", s.addr, "outcome", rec.Delivery.String(),
		"code", rec.Code, "enhanced", rec.Enhanced, "recipients", len(rec.Recipients), "message_id", s.message.MessageID, "took", took,
	}
	if err != nil {
		s.common.Logger.Warn("message not sent", append(args, "error", err.Error())...)
		return
	}
	s.common.Logger.Info("message sent", args...)
}
