package smtp

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/spool"
)

// A sending is one call of Send.
type sending struct {
	driver  *Driver
	message *driver.Message
	set     *settings
	net     *driver.Network
	common  *driver.Common
	addr    string

	file    *spool.SentFile // nil without a spool
	results []result
	reached bool // a connection was made
}

func (s *sending) run(ctx context.Context) (driver.Receipt, error) {
	begin := time.Now()
	s.results = make([]result, len(s.message.To))
	sess, f := s.try(ctx)
	addr := s.addr
	rec, err := conclude(s.message, addr, s.results, f)
	if !s.reached {
		rec.Server = ""
	}
	rec.SavedFile = s.keep(rec.Delivery)
	s.log(&rec, err, time.Since(begin))
	if sess != nil {
		sess.quit()
	}
	return rec, err
}

// try does everything up to the reply to the final dot. The session comes
// back if there is one to say good-bye to.
func (s *sending) try(ctx context.Context) (*session, *failure) {
	env, err := newEnvelope(s.message, s.set.notify)
	if err != nil {
		return nil, &failure{StageMAIL, driver.KindPermanent, driver.DeliveryRejected, err}
	}
	content, err := s.prepare(ctx)
	if err != nil {
		return nil, s.contextFailure(ctx, sourceFailure("prepare", err))
	}
	if env.wantsEnvID() {
		id := s.message.MessageID
		if id == "" {
			id = content.messageID()
		}
		env.envID, _ = encodeEnvID(id) // one that is too long or odd is left out
	}
	sess, err := open(ctx, s.addr, s.net, s.set, s.common)
	if err != nil {
		f := failed("dial", err)
		s.reached = f.op != "dial"
		return nil, f
	}
	s.reached = true
	t := newTransaction(sess, env, content)
	err = t.run(ctx)
	s.results = t.results
	if err != nil {
		return sess, s.contextFailure(ctx, failed(StageMAIL, err))
	}
	return sess, nil
}

// contextFailure gives a failure that the end of the context caused the kind
// that this has, where the step did not know it.
func (s *sending) contextFailure(ctx context.Context, f *failure) *failure {
	if ctx.Err() != nil && f.kind != driver.KindAmbiguous && errors.Is(f.err, context.Cause(ctx)) {
		f.kind = driver.KindTemporary
		if errors.Is(f.err, driver.ErrClosed) {
			f.kind = driver.KindClosed
		}
	}
	return f
}

// prepare reads the message and, with a spool, writes it down first, as the
// complete message that goes out (dots not doubled).
func (s *sending) prepare(ctx context.Context) (*content, error) {
	if s.common.Spool == nil {
		return scan(ctx, s.message.Open, nil)
	}
	v := s.driver.service(s.common.Spool)
	file, err := s.common.Spool.CreateSent(v.Service, v.sent.Add(1))
	if err != nil {
		return nil, &localError{err}
	}
	s.file = file
	c, err := scan(ctx, s.message.Open, localWriter{file})
	if err != nil {
		return nil, err
	}
	c.open = func() (io.ReadCloser, error) { return file.Open() }
	return c, nil
}

// localWriter marks the errors of the spool as this machine's.
type localWriter struct{ w io.Writer }

func (l localWriter) Write(p []byte) (int, error) {
	n, err := l.w.Write(p)
	if err != nil {
		err = &localError{err}
	}
	return n, err
}

// keep disposes of the file in the sent directory and returns its path if it
// stays. The outcome stands whatever befalls the copy: an error would make the
// caller send again what was accepted.
func (s *sending) keep(d driver.Delivery) string {
	if s.file == nil {
		return ""
	}
	save := s.set.keepUnsent
	if d == driver.DeliveryAccepted || d == driver.DeliveryPartly {
		save = s.set.saveSent
	}
	if save {
		err := s.file.Save()
		if err == nil {
			return s.file.Path()
		}
		s.common.Logger.Error("the sent copy could not be saved", "driver", driverName, "profile", s.common.Profile, "file", s.file.Name(), "error", err.Error())
		return ""
	}
	if err := s.file.Discard(); err != nil {
		s.common.Logger.Warn("the file of a message could not be removed", "driver", driverName, "profile", s.common.Profile, "file", s.file.Name(), "error", err.Error())
	}
	return ""
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
