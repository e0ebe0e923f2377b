package pop3test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxLine bounds a command line, generously above the 255 octets of RFC 2449.
const maxLine = 8 << 10

// errGone ends a session whose connection is over or was dropped on purpose.
var errGone = errors.New("connection is over")

type session struct {
	srv *Server
	tcp net.Conn // the bare connection
	log *transcript
	in  *bufio.Reader
	out *bufio.Writer
	w   *scriptedWriter

	secure bool
	stamp  string // the APOP time stamp
	user   string // of USER, not yet proved

	box   *maildrop // nil before login
	mails []*storedMail
	dead  []bool // marked by DELE
}

func newSession(s *Server, conn net.Conn, log *transcript, cut int64) *session {
	c := &session{srv: s, tcp: conn, log: log}
	c.w = &scriptedWriter{sess: c, conn: conn, total: cut, reply: -1}
	c.use(conn)
	return c
}

// use makes conn the one that is spoken over: the bare one, later TLS.
func (c *session) use(conn net.Conn) {
	c.w.conn = conn
	c.in = bufio.NewReaderSize(loggedReader{conn, c.log}, maxLine)
	c.out = bufio.NewWriterSize(c.w, 32<<10)
}

func (c *session) serve() {
	defer c.end()
	if c.srv.cfg.implicit && c.startTLS() != nil {
		return
	}
	greeting := "+OK pop3test ready"
	if c.srv.cfg.apop {
		c.stamp = fmt.Sprintf("<%d.%d@pop3test.invalid>", time.Now().UnixNano(), c.tcp.RemoteAddr().(*net.TCPAddr).Port)
		greeting += " " + c.stamp
	}
	err := c.step(StepGreeting, 0, func(Action) error { return c.say("%s", greeting) })
	for err == nil {
		var line string
		if line, err = c.readLine(); err == nil {
			err = c.command(line)
		}
	}
	_ = c.out.Flush()
}

// end gives the lock back and closes the connection, in this order: a client
// that sees the end may come back at once.
func (c *session) end() {
	if c.box != nil {
		c.srv.unlock(c.box)
		c.box = nil
	}
	_ = c.tcp.Close()
}

// readLine flushes what was said and reads a line.
func (c *session) readLine() (string, error) {
	if c.in.Buffered() == 0 {
		if err := c.out.Flush(); err != nil {
			return "", err
		}
	}
	line, err := c.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		c.srv.violation("line without CRLF: %.40q", line)
		text = strings.TrimSuffix(line, "\n")
	}
	if c.in.Buffered() > 0 && (!c.srv.cfg.pipelining || c.box == nil) {
		verb, _, _ := strings.Cut(text, " ")
		c.srv.violation("more was sent before the reply to %.10q", verb)
	}
	return text, nil
}

func (c *session) command(line string) error {
	verb, args, _ := strings.Cut(line, " ")
	step := Step(strings.ToUpper(verb))
	number, _, _ := strings.Cut(args, " ")
	n, _ := strconv.Atoi(number)
	var quit bool
	err := c.step(step, n, func(a Action) error {
		quit = step == StepQuit
		return c.execute(step, args, a)
	})
	if err == nil && quit {
		return errGone
	}
	return err
}

// step does what the script wants at this point, which is mostly to run exec.
func (c *session) step(at Step, message int, exec func(Action) error) error {
	a := c.srv.action(at, message)
	switch a.kind {
	case actReply, actReplyHang, actReplyDrop:
		text := a.text
		if !strings.HasSuffix(text, "\n") && a.kind != actReplyDrop {
			text += "\r\n"
		}
		if _, err := c.out.WriteString(text); err != nil {
			return err
		}
		if a.kind == actReplyHang {
			return c.hang()
		}
		if a.kind == actReplyDrop {
			return errGone
		}
		return nil
	case actDrop:
		return errGone
	case actReset:
		_ = c.out.Flush()
		if t, ok := c.tcp.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
		return errGone
	case actHang:
		return c.hang()
	case actDropReply:
		if err := c.out.Flush(); err != nil {
			return err
		}
		c.w.mute = true
		_ = exec(a)
		return errGone
	case actDropAfter:
		if err := exec(a); err != nil {
			return err
		}
		return errGone
	case actDrip:
		if err := c.out.Flush(); err != nil {
			return err
		}
		c.w.drip = a.interval
		err := exec(a)
		if err == nil {
			err = c.out.Flush()
		}
		c.w.drip = 0
		return err
	case actCut:
		if err := c.out.Flush(); err != nil {
			return err
		}
		c.w.reply = a.bytes
		err := exec(a)
		if err == nil {
			err = c.out.Flush()
		}
		c.w.reply = -1
		return err
	default:
		return exec(a)
	}
}

// hang says nothing until the client or the server ends the connection.
func (c *session) hang() error {
	if err := c.out.Flush(); err != nil {
		return err
	}
	for {
		if _, err := c.in.Discard(c.in.Buffered() + 1); err != nil {
			return errGone
		}
	}
}

func (c *session) say(format string, args ...any) error {
	_, err := fmt.Fprintf(c.out, format+"\r\n", args...)
	return err
}

func (c *session) startTLS() error {
	cfg := c.srv.cfg.tls
	if slices.Contains(c.srv.cfg.mechanisms, "EXTERNAL") {
		cfg = cfg.Clone()
		cfg.ClientAuth = tls.RequestClientCert
	}
	conn := tls.Server(c.tcp, cfg)
	if err := conn.Handshake(); err != nil {
		return err
	}
	c.secure = true
	c.use(conn)
	return nil
}
