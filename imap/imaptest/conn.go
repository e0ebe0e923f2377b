package imaptest

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// listener makes the connections of the memory server.
type listener struct {
	net.Listener
	s         *Server
	tls       *tls.Config   // nil: in clear
	accepting chan struct{} // closed by the first Accept
	once      sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	l.once.Do(func() { close(l.accepting) })
	for {
		base, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		t := &transcript{}
		if !l.s.begin(base, t) {
			_ = base.Close()
			continue // to the error of a listener that is closed
		}
		c := &patient{Conn: base, s: l.s, t: t, wake: make(chan struct{}, 1)}
		if l.tls != nil {
			c.Conn = tls.Server(base, l.tls)
		}
		l.s.wg.Go(func() {
			c.deliver()
			_ = base.Close()
			l.s.forget(base)
		})
		return c, nil
	}
}

// goodBye is how long a session that has ended waits for its client to take
// the last words.
const goodBye = 10 * time.Second

// A patient connection takes whatever is written at once, and delivers it in
// its own time. The memory server writes mails while it holds the lock of the
// folder: a client that is slow to read would hold up everybody, a test that
// adds mail to the folder among them. And it never tells of an error of Write,
// for one in the middle of a mail makes that session wait for itself: the next
// Read fails instead. It also records what the client sends.
type patient struct {
	net.Conn
	s    *Server
	t    *transcript
	wake chan struct{} // there is something to do

	mu    sync.Mutex
	out   [][]byte // one for each Write, so that TLS makes the same records of it every time
	ended bool     // by the memory server
}

func (p *patient) Write(b []byte) (int, error) {
	p.mu.Lock()
	if !p.ended {
		p.out = append(p.out, bytes.Clone(b))
	}
	p.mu.Unlock()
	p.rouse()
	return len(b), nil
}

func (p *patient) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// deliver sends what was written, up to the end of the session or of the
// connection.
func (p *patient) deliver() {
	broken := false
	for range p.wake {
		p.mu.Lock()
		out, ended := p.out, p.ended
		p.out = nil
		p.mu.Unlock()
		if ended {
			_ = p.Conn.SetWriteDeadline(time.Now().Add(goodBye))
		}
		for _, b := range out {
			if broken {
				break
			}
			if _, err := p.Conn.Write(b); err != nil {
				broken = true
				_ = p.Conn.Close() // which ends the session's Read
			}
		}
		if ended {
			_ = p.Conn.Close()
			return
		}
	}
}

func (p *patient) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	p.t.add(b[:n])
	if err != nil {
		err = io.EOF
	}
	return n, err
}

// Close ends the session; what was written before is still delivered.
func (p *patient) Close() error {
	p.mu.Lock()
	again := p.ended
	p.ended = true
	p.mu.Unlock()
	if !again {
		p.rouse()
		p.s.end()
	}
	return nil
}

// SetDeadline sets that of reading: writing never waits.
func (p *patient) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetWriteDeadline does nothing, see SetDeadline.
func (p *patient) SetWriteDeadline(time.Time) error { return nil }

// maxTranscript bounds what is kept of a connection.
const maxTranscript = 1 << 20

type transcript struct {
	mu  sync.Mutex
	buf []byte
}

func (t *transcript) add(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p[:min(len(p), max(0, maxTranscript-len(t.buf)))]...)
}

func (t *transcript) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.buf)
}
