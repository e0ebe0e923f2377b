package imaptest

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/maildriver/maildriver/internal/testcert"
)

// A Reply is what a [Scripted] server says to a command.
type Reply struct {
	// To is the command without its tag, or how it begins, in any letter
	// case: "UID FETCH" is for every UID FETCH. "" is for any command.
	To string
	// Text is sent byte for byte, but each "$" that begins a line stands for
	// the command's tag. Line ends are written as they are.
	Text string
	// Skip spares the first so many commands that match, Times bounds those
	// that are answered; 0 is no bound.
	Skip, Times int
	// Then is what happens afterwards.
	Then Then
	// Drip is the time between two bytes of Text; 0 is all at once.
	Drip time.Duration
	// Do is called before Text is sent.
	Do func()
}

// Then says how it goes on after a reply.
type Then uint8

// What can follow a reply.
const (
	Next       Then = iota // the next command
	Drop                   // the connection ends
	Reset                  // the connection ends with a TCP reset
	Hang                   // silence, until the client goes away
	StartTLS               // the TLS handshake, then the next command
	UntilDone              // lines are read up to DONE, whose reply is "$ OK done"
	ReadLine               // one line is read, e.g. a response to a challenge, then "$ OK done" is sent
	IgnoreRest             // everything is read and nothing said
)

// A Scripted is an IMAP server that says what it is told to say. Any number of
// goroutines may use it.
type Scripted struct {
	// Addr is host:port to connect to.
	Addr string

	greeting string
	ln       net.Listener
	wg       sync.WaitGroup
	done     chan struct{}

	mu       sync.Mutex
	replies  []*armed
	cut      int64
	commands []string
	conns    map[net.Conn]struct{}
	opened   int
	closed   bool
	sent     int64
}

type armed struct {
	Reply
	seen int
}

// NewScripted starts a server with a greeting and replies. To each command the
// first reply that matches is given; a command that no reply matches is refused
// with BAD. It panics if it cannot listen.
func NewScripted(greeting string, replies ...Reply) *Scripted {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	s := &Scripted{Addr: ln.Addr().String(), greeting: greeting, ln: ln, cut: -1, conns: map[net.Conn]struct{}{}, done: make(chan struct{})}
	s.Prepend(replies...)
	s.wg.Go(s.accept)
	return s
}

// Prepend puts replies before those that are there.
func (s *Scripted) Prepend(replies ...Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*armed
	for _, r := range replies {
		list = append(list, &armed{Reply: r})
	}
	s.replies = append(list, s.replies...)
}

// CutAfter ends each connection made from now on once the server has sent n
// bytes on it; n < 0 lifts the limit.
func (s *Scripted) CutAfter(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = n
}

// Sent counts the bytes sent on the latest connection.
func (s *Scripted) Sent() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// Commands gives the commands so far, without their tags, literals in place.
func (s *Scripted) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

// Connections counts those made so far.
func (s *Scripted) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

// RootCAs returns the authority that signed the server's certificate.
func (s *Scripted) RootCAs() *x509.CertPool { return testcert.RootCAs() }

// Close stops the server, ends all connections and returns when all its
// goroutines are gone. It may be called twice.
func (s *Scripted) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
		_ = s.ln.Close()
		for c := range s.conns {
			_ = c.Close()
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *Scripted) accept() {
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = conn.Close()
			return
		}
		s.conns[conn] = struct{}{}
		s.opened++
		s.sent = 0
		c := &dialogue{s: s, base: conn, conn: conn, r: bufio.NewReader(conn), left: s.cut}
		s.wg.Go(func() {
			c.run()
			_ = conn.Close()
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		})
		s.mu.Unlock()
	}
}

// find gives the reply to a command and notes the command.
func (s *Scripted) find(command string) Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = append(s.commands, command)
	for _, a := range s.replies {
		if len(command) < len(a.To) || !strings.EqualFold(command[:len(a.To)], a.To) {
			continue
		}
		a.seen++
		if a.seen <= a.Skip || a.Times > 0 && a.seen > a.Skip+a.Times {
			continue
		}
		return a.Reply
	}
	return Reply{Text: "$ BAD not in the script\r\n"}
}

// A dialogue is one connection.
type dialogue struct {
	s    *Scripted
	base net.Conn
	conn net.Conn
	r    *bufio.Reader
	left int64 // bytes that may still be sent; negative: any
}

func (c *dialogue) run() {
	if !c.send(c.s.greeting, 0) {
		return
	}
	for {
		line, err := c.command()
		if err != nil {
			return
		}
		tag, command, _ := strings.Cut(line, " ")
		reply := c.s.find(command)
		if reply.Do != nil {
			reply.Do()
		}
		if !c.send(fill(reply.Text, tag), reply.Drip) || !c.then(reply.Then, tag) {
			return
		}
	}
}

// fill writes the tag where the script has "$".
func fill(text, tag string) string {
	if strings.HasPrefix(text, "$") {
		text = tag + text[1:]
	}
	return strings.ReplaceAll(text, "\n$", "\n"+tag)
}

// command reads a command with its literals.
func (c *dialogue) command() (string, error) {
	var b strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		line = strings.TrimRight(line, "\r\n")
		b.WriteString(line)
		open := strings.LastIndexByte(line, '{')
		if open < 0 || !strings.HasSuffix(line, "}") {
			return b.String(), nil
		}
		digits := line[open+1 : len(line)-1]
		n, err := strconv.Atoi(strings.TrimSuffix(digits, "+"))
		if err != nil {
			return b.String(), nil
		}
		if !strings.HasSuffix(digits, "+") && !c.send("+ go on\r\n", 0) {
			return "", net.ErrClosed
		}
		b.WriteString("\r\n")
		if _, err := io.CopyN(&b, c.r, int64(n)); err != nil {
			return "", err
		}
	}
}

func (c *dialogue) send(text string, drip time.Duration) bool {
	b := []byte(text)
	cut := c.left >= 0 && int64(len(b)) > c.left
	if cut {
		b = b[:c.left]
	}
	if c.left >= 0 {
		c.left -= int64(len(b))
	}
	step := len(b)
	if drip > 0 {
		step = 1
	}
	for part := range slices.Chunk(b, max(step, 1)) {
		if drip > 0 {
			timer := time.NewTimer(drip)
			select {
			case <-timer.C:
			case <-c.s.done:
				timer.Stop()
				return false
			}
		}
		if _, err := c.conn.Write(part); err != nil {
			return false
		}
	}
	c.s.mu.Lock()
	c.s.sent += int64(len(b))
	c.s.mu.Unlock()
	return !cut
}

func (c *dialogue) then(t Then, tag string) bool {
	switch t {
	case Drop:
		return false
	case Reset:
		if tcp, ok := c.base.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		return false
	case Hang, IgnoreRest:
		_, _ = io.Copy(io.Discard, c.r)
		return false
	case StartTLS:
		t := tls.Server(c.base, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{testcert.Local()}})
		if err := t.Handshake(); err != nil {
			return false
		}
		c.conn, c.r = t, bufio.NewReader(t)
	case UntilDone:
		for {
			line, err := c.r.ReadString('\n')
			if err != nil {
				return false
			}
			if strings.EqualFold(strings.TrimSpace(line), "DONE") {
				return c.send(tag+" OK done\r\n", 0)
			}
		}
	case ReadLine:
		line, err := c.r.ReadString('\n')
		if err != nil {
			return false
		}
		c.s.mu.Lock()
		c.s.commands = append(c.s.commands, strings.TrimRight(line, "\r\n"))
		c.s.mu.Unlock()
		return c.send(tag+" OK done\r\n", 0)
	}
	return true
}
