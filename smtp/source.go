package smtp

import (
	"context"
	"io"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/spool"
)

// A source is the message of one Send, in the forms that servers need: as the
// host gave it, or re-encoded for a server that takes less. With a spool each
// form is a file in the sent directory, of which one stays at most.
type source struct {
	driver  *Driver
	message *driver.Message
	set     *settings
	common  *driver.Common

	whole  form
	narrow [2]form // without 8-bit octets, and with
	sent   *form   // the one that last went out
}

type form struct {
	content *content
	file    *spool.SentFile // nil without a spool
}

// prepare reads the message and, with a spool, writes it down first, as the
// complete message that goes out (dots not doubled).
func (s *source) prepare(ctx context.Context) error {
	return s.store(&s.whole, func(w io.Writer) (*content, error) { return scan(ctx, s.message, w) })
}

// store makes a form by fill, in a file if there is a spool.
func (s *source) store(f *form, fill func(w io.Writer) (*content, error)) error {
	if s.common.Spool == nil {
		c, err := fill(nil)
		f.content = c
		return err
	}
	v := s.driver.service(s.common.Spool)
	file, err := s.common.Spool.CreateSent(v.Service, v.sent.Add(1))
	if err != nil {
		return &localError{err}
	}
	f.file = file
	c, err := fill(localWriter{file})
	if err != nil {
		return err
	}
	c.emit = func(ctx context.Context, w io.Writer) error {
		return copyFrom(ctx, w, func() (io.ReadCloser, error) { return file.Open() })
	}
	f.content = c
	return nil
}

// asItIs gives the content if the server of s takes it unchanged, else nil.
func (s *source) asItIs(on *session, set *settings) *content {
	c := s.whole.content
	switch {
	case !c.needsBinary(set.maxLine):
		if c.eightBit && !on.ext.has("8BITMIME") {
			return nil
		}
		return c
	case on.ext.has("BINARYMIME") && on.ext.has("CHUNKING") && !set.oneByOne:
		declared := *c
		declared.asBinary = true
		return &declared
	}
	return nil
}

// fit gives the content as the server of on takes it. Parts that it cannot take
// are re-encoded (A11); where that cannot be done, the error says why.
func (s *source) fit(ctx context.Context, on *session) (*content, error) {
	s.sent = &s.whole
	if c := s.asItIs(on, s.set); c != nil {
		return c, nil
	}
	allow8 := on.ext.has("8BITMIME")
	f := &s.narrow[0]
	if allow8 {
		f = &s.narrow[1]
	}
	s.sent = f
	if f.content != nil {
		return f.content, nil
	}
	edits, err := plan(ctx, s.whole.content, allow8, s.set.maxLine)
	if err == nil {
		err = s.store(f, func(w io.Writer) (*content, error) { return reencode(ctx, s.whole.content, edits, w) })
	}
	switch {
	case err == nil:
		return f.content, nil
	case ctx.Err() == nil && isContentError(err):
		return nil, &failure{StageMAIL, driver.KindPermanent, driver.DeliveryRejected, err}
	}
	return nil, sourceFailure("prepare", err)
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

// keep disposes of the files in the sent directory and returns the path of the
// one that stays: the form that was on the wire. The outcome stands whatever
// befalls the copy: an error would make the caller send again what was
// accepted.
func (s *source) keep(d driver.Delivery) string {
	save := s.set.keepUnsent
	if d == driver.DeliveryAccepted || d == driver.DeliveryPartly {
		save = s.set.saveSent
	}
	path := ""
	for _, f := range []*form{&s.whole, &s.narrow[0], &s.narrow[1]} {
		if f.file == nil {
			continue
		}
		if save && (f == s.sent || s.sent == nil && f == &s.whole) {
			path = s.save(f.file)
			continue
		}
		if err := f.file.Discard(); err != nil {
			s.common.Logger.Warn("the file of a message could not be removed", "driver", driverName, "profile", s.common.Profile, "file", f.file.Name(), "error", err.Error())
		}
	}
	return path
}

func (s *source) save(file *spool.SentFile) string {
	if err := file.Save(); err != nil {
		s.common.Logger.Error("the sent copy could not be saved", "driver", driverName, "profile", s.common.Profile, "file", file.Name(), "error", err.Error())
		return ""
	}
	return file.Path()
}
