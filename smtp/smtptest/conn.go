package smtptest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"net"
	"slices"
	"strconv"
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

// path takes "FROM:<a@b> PARAM..." apart.
func path(args, word string) (addr string, params []string, ok bool) {
	if len(args) < len(word) || !strings.EqualFold(args[:len(word)], word) {
		return "", nil, false
	}
	rest, ok := strings.CutPrefix(args[len(word):], "<")
	if !ok {
		return "", nil, false
	}
	quoted := false
	for i := 0; i < len(rest); i++ {
		switch {
		case rest[i] == '\\' && quoted:
			i++
		case rest[i] == '"':
			quoted = !quoted
		case rest[i] == '>' && !quoted:
			tail := rest[i+1:]
			if tail != "" && tail[0] != ' ' {
				return "", nil, false
			}
			return rest[:i], strings.Fields(tail), true
		}
	}
	return "", nil, false
}

// check refuses parameters that no offered extension has.
func (c *conn) check(params []string, extensionOf map[string]string) (string, bool) {
	for _, p := range params {
		key, value, _ := strings.Cut(p, "=")
		ext := extensionOf[strings.ToUpper(key)]
		if ext == "" || !c.offers(ext) {
			c.violation("parameter %s without the extension", key)
			return "555 5.5.4 parameter " + key + " not known", false
		}
		if strings.EqualFold(key, "SIZE") {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 {
				c.violation("SIZE=%q", value)
				return "501 5.5.4 bad SIZE", false
			}
			if limit := c.sizeLimit(); limit > 0 && n > limit {
				return "552 5.3.4 too large", false
			}
		}
	}
	return "", true
}

func (c *conn) sizeLimit() int64 {
	for _, x := range c.extensions() {
		if k, v, _ := strings.Cut(x, " "); strings.EqualFold(k, "SIZE") {
			n, _ := strconv.ParseInt(v, 10, 64)
			return n
		}
	}
	return 0
}

var (
	mailParams = map[string]string{
		"SIZE": "SIZE", "BODY": "8BITMIME", "RET": "DSN", "ENVID": "DSN", "AUTH": "AUTH", "SMTPUTF8": "SMTPUTF8",
		"REQUIRETLS": "REQUIRETLS", "BY": "DELIVERBY", "MT-PRIORITY": "MT-PRIORITY",
	}
	rcptParams = map[string]string{"NOTIFY": "DSN", "ORCPT": "DSN"}
)

func (c *conn) mail(args string) {
	addr, params, ok := path(args, "FROM:")
	refusal := ""
	switch {
	case !ok:
		c.violation("bad MAIL: %.60q", args)
		refusal = "501 5.5.4 bad MAIL"
	case c.stuck && c.s.sticky:
		refusal = "503 5.5.1 MAIL after BDAT"
	case c.helo == "" || c.pending != nil:
		c.violation("MAIL out of order")
		refusal = "503 5.5.1 out of order"
	case c.s.user != "" && c.user == "":
		refusal = "530 5.7.0 authentication required"
	default:
		refusal, _ = c.check(params, mailParams)
		if has(params, "BODY=BINARYMIME") && !(c.offers("BINARYMIME") && c.offers("CHUNKING")) {
			c.violation("BODY=BINARYMIME without the extension")
			refusal = "555 5.5.4 parameter BODY not known"
		}
		if has(params, "REQUIRETLS") && !c.tls {
			c.violation("REQUIRETLS without TLS")
		}
		c.judgeAddress(addr, has(params, "SMTPUTF8"))
	}
	if refusal != "" {
		c.answer(MAIL, refusal)
		return
	}
	if c.answer(MAIL, "250 2.1.0 sender ok") {
		c.pending = &Message{Conn: c.n, Helo: c.helo, User: c.user, TLS: c.tls, From: addr, Params: params}
	}
}

func (c *conn) rcpt(args string) {
	addr, params, ok := path(args, "TO:")
	refusal := ""
	switch {
	case !ok || addr == "":
		c.violation("bad RCPT: %.60q", args)
		refusal = "501 5.5.4 bad RCPT"
	case c.pending == nil:
		c.disorder("RCPT")
		refusal = "503 5.5.1 out of order"
	default:
		refusal, _ = c.check(params, rcptParams)
		c.judgeAddress(addr, has(c.pending.Params, "SMTPUTF8"))
	}
	if refusal == "" && slices.Contains(c.s.refused, addr) {
		refusal = "550 5.1.1 no such mailbox"
	}
	if refusal != "" {
		c.answer(RCPT, refusal)
		return
	}
	if c.answer(RCPT, "250 2.1.5 recipient ok") {
		c.pending.To = append(c.pending.To, Recipient{addr, params})
	}
}

// disorder notes a command that has no place here. In a pipelined group it is
// the fault of the refusal before it.
func (c *conn) disorder(verb string) {
	if !c.offers("PIPELINING") {
		c.violation("%s out of order", verb)
	}
}

func (c *conn) judgeAddress(addr string, declared bool) {
	for i := range len(addr) {
		if addr[i] >= 0x80 && !declared {
			c.violation("an address beyond ASCII without SMTPUTF8")
			return
		}
	}
}

func has(params []string, want string) bool {
	return slices.ContainsFunc(params, func(p string) bool { return strings.EqualFold(p, want) })
}

func (c *conn) data() {
	m := c.pending
	if m == nil || len(m.To) == 0 {
		c.disorder("DATA")
		c.answer(DATA, "503 5.5.1 out of order")
		return
	}
	if m.Chunks != nil || has(m.Params, "BODY=BINARYMIME") {
		c.violation("DATA for a message that needs BDAT")
		c.answer(DATA, "503 5.5.1 out of order")
		return
	}
	if !c.answer(DATA, "354 go ahead") {
		return
	}
	c.pending = nil
	if c.content(m) {
		c.decide(m)
	}
}

// decide takes the message or not. The decision comes before the reply: see
// the package comment. With LMTP there is one for each recipient.
func (c *conn) decide(m *Message) (all2xx bool) {
	all := m.To
	if !c.s.lmtp {
		all = all[:1]
	}
	taken := m.To[:0:0]
	promises := true
	for i := range all {
		a, faulty := c.s.fault(Dot, c.n, c.seen[Dot]+1+i)
		if !faulty || a.accept || a.usual || a.reply && a.text[0] == '2' {
			taken = append(taken, all[i])
			promises = promises && !a.accept
		}
	}
	if len(taken) > 0 {
		if c.s.lmtp {
			m.To = taken
		}
		c.s.accept(m)
	}
	written := true
	for range all {
		written = c.answer(Dot, "250 2.0.0 taken") && written || c.s.lmtp && !c.over
	}
	if len(taken) > 0 && promises && written {
		c.s.promise(m)
	}
	return len(taken) == len(all)
}

// content reads up to the final dot. Only CRLF.CRLF ends it.
func (c *conn) content(m *Message) bool {
	declared := false
	for _, p := range m.Params {
		declared = declared || strings.EqualFold(p, "BODY=8BITMIME")
	}
	var long []byte
	start := true
	for {
		part, err := c.r.ReadSlice('\n')
		m.Wire = append(m.Wire, part...)
		if err == bufio.ErrBufferFull {
			long = append(long, part...)
			continue
		}
		if err != nil {
			return false
		}
		line := part
		if long != nil {
			line = append(long, part...)
			long = nil
		}
		body, crlf := bytes.CutSuffix(line, []byte("\r\n"))
		if crlf && start && string(body) == "." {
			return true
		}
		c.judge(body, crlf, declared)
		if string(bytes.TrimRight(line, "\r\n")) == "." {
			c.violation("a dot alone that some servers would take for the end")
		}
		if start && line[0] == '.' {
			line = line[1:]
		}
		m.Data = append(m.Data, line...)
		start = crlf
	}
}

func (c *conn) judge(body []byte, crlf, declared bool) {
	if !crlf {
		c.violation("a bare LF in the content")
	}
	if bytes.IndexByte(body, '\r') >= 0 {
		c.violation("a bare CR in the content")
	}
	if bytes.IndexByte(body, 0) >= 0 {
		c.violation("a NUL in the content")
	}
	if len(body) > 999 { // one more for the dot
		c.violation("a line of more than 998 octets")
	}
	if !declared && bytes.ContainsFunc(body, func(r rune) bool { return r >= 0x80 }) {
		c.violation("8-bit content that was not declared")
	}
}
