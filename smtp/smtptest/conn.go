package smtptest

import (
	"bufio"
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"time"
)

// A conn is one session of the server.
type conn struct {
	s      *Server
	n      int
	t      *transcript
	socket rawConn
	nc     net.Conn // socket or TLS over it
	r      *bufio.Reader

	cutRead, cutWrite, stallRead int
	over                         bool // the connection was ended
	seen                         map[Stage]int

	tls     bool
	esmtp   bool
	helo    string
	user    string
	pending *Message // after MAIL
	doomed  bool     // a chunk of pending was refused
	stuck   bool     // BDAT was refused since the last RSET
}

func newConn(s *Server, nc net.Conn, t *transcript, n int) *conn {
	c := &conn{
		s: s, n: n, t: t, socket: rawConn{nc, t}, seen: make(map[Stage]int),
		cutRead: s.cutRead, cutWrite: s.cutWrite, stallRead: s.stallRead,
	}
	c.nc = c.socket
	c.r = bufio.NewReaderSize(c, 16<<10)
	return c
}

func (c *conn) run() {
	if c.s.implicit && !c.upgrade() {
		return
	}
	c.answer(Greeting, "220 "+c.s.name+" ESMTP smtptest")
	for !c.over {
		line, ok := c.line()
		if !ok {
			return
		}
		c.t.command(line)
		c.command(line)
	}
}

func (c *conn) upgrade() bool {
	cfg := &tls.Config{Certificates: []tls.Certificate{*c.s.cert}, MinVersion: tls.VersionTLS12}
	if slices.Contains(c.s.mechanisms, "EXTERNAL") {
		cfg.ClientAuth = tls.RequestClientCert
	}
	t := tls.Server(c.socket, cfg)
	if t.Handshake() != nil {
		c.end(drop)
		return false
	}
	c.nc, c.tls = t, true
	return true
}

// line reads a command line, which must end with CRLF.
func (c *conn) line() (string, bool) {
	raw, err := c.r.ReadSlice('\n')
	if err != nil {
		if err == bufio.ErrBufferFull {
			c.violation("a command line of more than %d bytes", len(raw))
			c.write("500 5.5.2 line too long\r\n")
			c.end(drop)
		}
		return "", false
	}
	line, ok := strings.CutSuffix(string(raw), "\r\n")
	if !ok {
		c.violation("a command ends with a bare LF")
		line = strings.TrimSuffix(line, "\n")
	}
	if strings.ContainsAny(line, "\r\x00") {
		c.violation("a command holds a CR or NUL")
	}
	if c.r.Buffered() > 0 {
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		switch {
		case verb == "BDAT": // its chunk follows at once
		case !c.offers("PIPELINING"):
			c.violation("data follows a command at once without PIPELINING: %.20q", line)
		case slices.Contains(groupEnds, verb):
			c.violation("%s is not the last command of its group", verb)
		}
	}
	return line, true
}

// groupEnds are the commands behind which nothing may be sent before their
// reply (RFC 2920 section 3.1).
var groupEnds = []string{"EHLO", "HELO", "LHLO", "STARTTLS", "AUTH", "DATA", "NOOP", "QUIT"}

func (c *conn) violation(format string, args ...any) { c.s.violation(format, args...) }

// answer gives the reply at a stage, or what a fault makes of it, and reports
// whether the server acts as its usual reply says.
func (c *conn) answer(at Stage, usual ...string) bool {
	c.seen[at]++
	text := strings.Join(usual, "\r\n") + "\r\n"
	a, faulty := c.s.fault(at, c.n, c.seen[at])
	if !faulty {
		return c.write(text) && text[0] < '4'
	}
	ok := a.accept
	if a.wait > 0 {
		select {
		case <-time.After(a.wait):
		case <-c.s.done:
		}
	}
	switch {
	case a.drip > 0:
		c.drip(a.text, a.drip)
	case a.usual:
		ok = c.write(a.before+text+a.after) && text[0] < '4'
	case a.text != "":
		ok = c.write(a.text) && a.reply && (a.text[0] == '2' || a.text[0] == '3')
	}
	c.end(a.end)
	return ok
}

func (c *conn) command(line string) {
	verb, args, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO", "LHLO":
		if c.s.lmtp != (strings.ToUpper(verb) == "LHLO") {
			c.violation("%s is of another protocol", verb)
			c.write("500 5.5.1 unknown command\r\n")
			return
		}
		c.hello(EHLO, args)
	case "HELO":
		c.hello(HELO, args)
	case "STARTTLS":
		c.startTLS(args)
	case "AUTH":
		c.auth(args)
	case "MAIL":
		c.mail(args)
	case "RCPT":
		c.rcpt(args)
	case "DATA":
		c.data()
	case "BDAT":
		c.bdat(args)
	case "RSET":
		c.pending, c.doomed, c.stuck = nil, false, false
		c.answer(RSET, "250 2.0.0 reset")
	case "NOOP":
		c.answer(NOOP, "250 2.0.0 ok")
	case "QUIT":
		c.answer(QUIT, "221 2.0.0 good-bye")
		c.end(drop)
	default:
		c.violation("unknown command %.20q", line)
		c.write("500 5.5.2 unknown command\r\n")
	}
}

func (c *conn) hello(at Stage, name string) {
	if name == "" || strings.ContainsAny(name, " \t") {
		c.violation("%s with the name %q", at, name)
		c.write("501 5.5.4 a name is needed\r\n")
		return
	}
	c.pending = nil
	if at == EHLO && c.s.noEHLO {
		c.answer(EHLO, "502 5.5.1 EHLO is not known here")
		return
	}
	reply := []string{"250 " + c.s.name}
	if at == EHLO {
		for _, x := range c.extensions() {
			reply = append(reply, "250 "+x)
		}
		for i := range reply[:len(reply)-1] {
			reply[i] = "250-" + reply[i][4:]
		}
	}
	if c.answer(at, reply...) {
		c.helo, c.esmtp = name, at == EHLO
	}
}

// extensions is what EHLO offers now.
func (c *conn) extensions() []string {
	list := c.s.extensions
	if c.tls && c.s.tlsExts != nil {
		list = c.s.tlsExts
	}
	has := func(word string) bool {
		for _, x := range list {
			k, _, _ := strings.Cut(x, " ")
			k, _, _ = strings.Cut(k, "=")
			if strings.EqualFold(k, word) {
				return true
			}
		}
		return false
	}
	out := append([]string{}, list...)
	if c.s.startTLS && !c.tls && !has("STARTTLS") {
		out = append(out, "STARTTLS")
	}
	if c.s.user != "" && (c.tls || !c.s.startTLS) && !has("AUTH") {
		out = append(out, "AUTH "+strings.Join(c.s.mechanisms, " "))
	}
	return out
}

func (c *conn) offers(keyword string) bool {
	if !c.esmtp {
		return false
	}
	for _, x := range c.extensions() {
		k, _, _ := strings.Cut(x, " ")
		if k, _, _ = strings.Cut(k, "="); strings.EqualFold(k, keyword) {
			return true
		}
	}
	return false
}

func (c *conn) startTLS(args string) {
	if args != "" || c.tls || c.s.cert == nil {
		c.write("503 5.5.1 no STARTTLS now\r\n")
		return
	}
	if c.r.Buffered() > 0 {
		c.violation("data follows STARTTLS in clear")
	}
	if !c.answer(STARTTLS, "220 2.0.0 go ahead") || !c.upgrade() {
		return
	}
	c.helo, c.esmtp, c.user, c.pending = "", false, "", nil
}
