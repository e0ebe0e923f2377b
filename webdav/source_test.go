package webdav

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

// A source counts what is open of it. From the second time on it gives later in
// place of text.
type source struct {
	text  string
	later func() io.Reader

	opened, open atomic.Int32
}

func (s *source) message() *driver.Message {
	m := message("", "bob@example.com")
	m.Open = func() (io.ReadCloser, error) {
		s.open.Add(1)
		var r io.Reader = strings.NewReader(s.text)
		if s.opened.Add(1) > 1 && s.later != nil {
			r = s.later()
		}
		once := sync.OnceFunc(func() {
			if c, ok := r.(io.Closer); ok {
				_ = c.Close()
			}
			s.open.Add(-1)
		})
		return struct {
			io.Reader
			io.Closer
		}{r, closer(once)}, nil
	}
	return m
}

type closer func()

func (c closer) Close() error { c(); return nil }

// A source that blocks while the message is on its way ends with the call, and
// is closed when the call returns.
func TestSourceBlocks(t *testing.T) {
	t.Parallel()
	for _, save := range []bool{false, true} {
		srv := newServer(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := &source{text: "Subject: x\r\n\r\nx\r\n"}
		s.text = "To: bob@example.com\r\n" + s.text
		s.later = func() io.Reader {
			cancel()
			r, w := io.Pipe() // nobody writes
			_ = w
			return r
		}
		rec, err := newDriver(t, srv.Mailbox(), WithSaveSent(save)).Send(ctx, s.message())
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, driver.DeliveryDeferred, rec.Delivery, "%v", err)
		assert.Zero(t, s.open.Load(), "save %v: the source is closed", save)
	}
}

// A source that changes between two readings, or breaks off, is not sent in
// part.
func TestSourceChanges(t *testing.T) {
	t.Parallel()
	const head = "To: bob@example.com\r\n\r\n"
	broken := errors.New("disk on fire")
	for name, c := range map[string]struct {
		size  int // of the body, at first
		later func(text string) io.Reader
	}{
		"longer":  {100, func(text string) io.Reader { return strings.NewReader(text + "more\r\n") }},
		"shorter": {100, func(text string) io.Reader { return strings.NewReader(text[:len(text)-50]) }},
		"broken":  {100, func(text string) io.Reader { return io.MultiReader(strings.NewReader(text[:50]), errReader{broken}) }},
		"longer by a block": {256 << 10, func(text string) io.Reader {
			return strings.NewReader(text + strings.Repeat("more\r\n", 100_000))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Every length around that of the buffers, so that one fills them.
			for extra := range 64 {
				srv := newServer(t)
				text := head + strings.Repeat("x", c.size+extra*16) + "\r\n"
				s := &source{text: text, later: func() io.Reader { return c.later(text) }}
				rec, err := newDriver(t, srv.Mailbox()).Send(t.Context(), s.message())
				require.Error(t, err)
				assert.Equal(t, driver.DeliveryDeferred, rec.Delivery, "%v", err)
				assert.Equal(t, driver.KindLocal, driver.KindOf(err), "%v", err)
				srv.Settled()
				require.Zero(t, len(srv.Sent()), "%s", name)
				assert.Zero(t, s.open.Load())
			}
		})
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }
