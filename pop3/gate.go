package pop3

import (
	"errors"
	"net"
	"time"

	"github.com/maildriver/maildriver/internal/netx"
)

// maxStatus bounds a status line in bytes; RFC 2449 section 4 permits 512.
const maxStatus = 4 << 10

// errBlank is what go-pop3 would take for success.
var errBlank = errors.New("blank status line")

// A gate is the connection as go-pop3 sees it. That engine reads through a
// buffer of its own, which must never hold bytes of a mail, and takes lines of
// any length and even blank ones. So one Read gives bytes of one line only, and
// only when the engine waits for a status line; everything else of a reply is
// read from the connection itself.
//
// A gate begins with a greeting that the session has already seen.
type gate struct {
	conn *netx.Conn
	line []byte // what the engine has not taken yet
	last string // the latest status line, without CRLF
	err  error  // why Read failed
}

// Dial gives the gate to the engine in place of a new connection.
func (g *gate) Dial(string, string) (net.Conn, error) {
	g.line = []byte("+OK\r\n")
	return g, nil
}

// Read gives the engine a status line.
func (g *gate) Read(p []byte) (int, error) {
	if len(g.line) == 0 {
		if g.err = g.next(); g.err != nil {
			return 0, g.err
		}
	}
	n := copy(p, g.line)
	g.line = g.line[n:]
	return n, nil
}

func (g *gate) next() error {
	if err := g.conn.Flush(); err != nil {
		return err
	}
	line, err := g.conn.ReadLine(maxStatus)
	if err != nil {
		return err
	}
	if len(line) == 0 {
		return errBlank
	}
	g.last = string(line)
	g.line = append(append(g.line[:0], line...), '\r', '\n')
	return nil
}

// Write queues commands; they are sent when a reply is waited for, so that
// pipelined commands leave in one piece.
func (g *gate) Write(p []byte) (int, error) { return g.conn.Command(p) }

// Close belongs to the session.
func (g *gate) Close() error { return nil }

// LocalAddr completes net.Conn, as do the methods below. Deadlines are the
// session's.
func (g *gate) LocalAddr() net.Addr              { return g.conn.LocalAddr() }
func (g *gate) RemoteAddr() net.Addr             { return nil }
func (g *gate) SetDeadline(time.Time) error      { return nil }
func (g *gate) SetReadDeadline(time.Time) error  { return nil }
func (g *gate) SetWriteDeadline(time.Time) error { return nil }
