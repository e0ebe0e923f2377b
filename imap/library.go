package imap

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// A library is go-imap's client behind a session that is logged in: it writes
// the commands that change mails and reads the replies to them. It never touches
// the network: what it writes goes to the session's connection, what it reads
// are responses that the session has read whole, found right and chosen for
// it. So the deadlines, limits and the cancellation are the session's, and what
// the client takes amiss (unknown responses, bad folder names) never reaches
// it.
type library struct {
	s      *session
	client *imapclient.Client

	tag string // of the command being written; used by the session's goroutine

	mu     sync.Mutex
	cond   *sync.Cond
	in     []byte // to be read by the client
	closed bool
}

// library returns the client, made at first use with the state that the
// session has.
func (s *session) library() *library {
	if s.lib == nil {
		l := &library{s: s}
		l.cond = sync.NewCond(&l.mu)
		caps := make([]string, 0, len(s.caps))
		for name := range s.caps {
			// The client writes UTF-8 names as soon as it sees IMAP4rev2,
			// which holds only once that is enabled (RFC 9051 section 6.3.1),
			// and then escapes "&", which is not what UTF-8 names want. So it
			// is kept at IMAP4rev1, and gets no names in a session of UTF-8.
			if name != "IMAP4REV2" && isAtom(name) {
				caps = append(caps, name)
			}
		}
		if s.has("MOVE") && !slices.Contains(caps, "MOVE") {
			caps = append(caps, "MOVE")
		}
		slices.Sort(caps)
		l.feed([]byte("* PREAUTH [CAPABILITY " + strings.Join(caps, " ") + "] ready\r\n"))
		l.client = imapclient.New(l, nil)
		s.lib = l
	}
	return s.lib
}

// do runs one command of the client. start begins it and returns what waits
// for its end. Of the untagged responses the client sees those of the types
// that pass names and on, if not nil, approves.
func (l *library) do(command string, pass []string, on func(*response) bool, start func(c *imapclient.Client) (wait func() error)) error {
	s := l.s
	if err := s.settle(); err != nil {
		return err
	}
	// Until the greeting has been read the client does not know the state
	// that it is in.
	if err := l.client.WaitGreeting(); err != nil {
		return s.broken(opOf(command), l.trouble(command, err))
	}
	l.tag = ""
	calm := l.guard()
	wait := start(l.client)
	calm()
	if s.err != nil {
		_ = wait()
		return s.err
	}
	if l.tag == "" {
		_ = s.fail(l.trouble(command, errors.New("it wrote no command")))
		_ = wait()
		return s.err
	}
	st, err := s.await(command, l.tag, func(r *response) error {
		if slices.Contains(pass, r.typ) && (on == nil || on(r)) {
			if !wellFormed(r.rest) {
				return s.garbage("a response that cannot be read", r.rest)
			}
			if r.num > 0 {
				l.feed(fmt.Appendf(nil, "* %d %s %s\r\n", r.num, r.typ, r.rest))
			} else {
				l.feed(fmt.Appendf(nil, "* %s %s\r\n", r.typ, r.rest))
			}
		}
		return nil
	})
	if s.err != nil {
		_ = wait()
		return s.err
	}
	// Of the status it gets the word alone; codes are read by the session.
	l.feed([]byte(l.tag + " " + st.typ + " done\r\n"))
	calm = l.guard()
	waitErr := wait()
	calm()
	if err != nil {
		return err
	}
	if waitErr != nil {
		return s.fail(l.trouble(command, waitErr))
	}
	return nil
}

// guard ends the client if it does not come back within a time-out. All that it
// needs is there; but were it to take the end of a response for a part of it, it
// would wait for more for ever.
func (l *library) guard() (stop func()) {
	timer := time.AfterFunc(l.s.conn.Timeout(), l.close)
	return func() { timer.Stop() }
}

// wellFormed reports whether strings and lists end within a response. The
// client's parser would look for their ends in the next one.
func wellFormed(b []byte) bool {
	depth := 0
	for len(b) > 0 {
		switch b[0] {
		case '"', '{':
			_, rest, ok := cutString(b)
			if !ok {
				return false
			}
			b = rest
			continue
		case '(':
			depth++
		case ')':
			depth--
		case '\r', '\n':
			return false
		}
		if b = b[1:]; depth < 0 {
			return false
		}
	}
	return depth == 0
}

// trouble is an error of the client that no server's refusal explains.
func (l *library) trouble(command string, err error) error {
	return l.s.wrap(opOf(command), driver.KindProtocol, fmt.Errorf("the reply cannot be read: %s", netx.Quote(err.Error())))
}

// feed gives the client something to read. What it is given is bounded by the
// limits on responses.
func (l *library) feed(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in = append(l.in, b...)
	l.cond.Signal()
}

// close ends the client, and its goroutine as soon as nobody waits for a
// command; ended is closed then.
func (l *library) close() { _ = l.Close() }

func (l *library) ended() <-chan struct{} { return l.client.Closed() }

// Read implements net.Conn for the client.
func (l *library) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.in) == 0 {
		if l.closed {
			return 0, io.EOF
		}
		l.cond.Wait()
	}
	n := copy(p, l.in)
	l.in = l.in[n:]
	if len(l.in) == 0 {
		l.in = nil
	}
	return n, nil
}

// Write implements net.Conn: it is called by the session's goroutine, in
// start.
func (l *library) Write(p []byte) (int, error) {
	if l.tag == "" {
		l.tag, _ = cutWord(p)
	}
	n, err := l.s.conn.Command(p)
	if err == nil {
		err = l.s.conn.Flush()
	}
	if err != nil {
		// Only noted: the session closes the client when it is not in the
		// middle of a call.
		_ = l.s.broken("write", err)
	}
	return n, err
}

// Close implements net.Conn.
func (l *library) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.cond.Broadcast()
	return nil
}

// LocalAddr implements net.Conn.
func (l *library) LocalAddr() net.Addr { return l.s.conn.LocalAddr() }

// RemoteAddr implements net.Conn.
func (l *library) RemoteAddr() net.Addr { return nil }

// SetDeadline implements net.Conn. The client's deadlines are fixed constants;
// the session has its own.
func (l *library) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn, see SetDeadline.
func (l *library) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn, see SetDeadline.
func (l *library) SetWriteDeadline(time.Time) error { return nil }
