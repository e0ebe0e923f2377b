package netx

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// maxTraceLine is how much of a line a trace shows, in bytes.
const maxTraceLine = 1000

// A Trace is the record of one connection, for people. What is content or
// credential is known by who reads or writes it: bytes that a protocol writes
// with [Conn.Write] or reads with [Conn.Read] and [Conn.Peek] are counted and
// not shown, and between [Conn.Private] and its end a line shows no more than
// words that this package knows. Besides, should a server repeat the password
// somewhere, it is taken out of what is shown.
//
// A nil Trace does nothing. Any number of goroutines may use a Trace.
type Trace struct {
	name, addr string
	log        *slog.Logger
	show       func(dir byte, line []byte) string

	mu      sync.Mutex
	w       io.WriteCloser // nil once it failed or was closed
	secrets []string
	private int
	dir     byte // of the bytes that were counted last
	count   int64
}

// OpenTrace opens the trace that n asks for, nil if it asks for none. A trace
// that cannot be opened is told to log and changes nothing else (F35).
func OpenTrace(n *driver.Network, name, addr string, log *slog.Logger) *Trace {
	if n.Trace == nil {
		return nil
	}
	w, err := n.Trace(name, addr)
	if err != nil {
		log.Warn("no trace of this connection", "driver", name, "addr", addr, "error", err.Error())
		return nil
	}
	if w == nil {
		return nil
	}
	t := &Trace{name: name, addr: addr, log: log, w: w}
	for _, s := range []driver.Secret{n.Password, n.Proxy.Password} {
		t.secrets = append(t.secrets, forms(s.Reveal())...)
	}
	t.Note("%s %s, TLS %v, %s", name, addr, n.Security, time.Now().UTC().Format(time.RFC3339))
	return t
}

// minSecret is the length from which a secret is looked for: shorter ones are
// in many words.
const minSecret = 4

// forms are the ways in which a text may be written.
func forms(secret string) []string {
	if len(secret) < minSecret {
		return nil
	}
	list := []string{
		secret, hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))),
		url.QueryEscape(secret), url.PathEscape(secret), strings.Trim(strconv.Quote(secret), `"`),
	}
	// In base64 a text looks different at each of three places; its first and
	// last characters may depend on what stands beside it.
	for shift := range 3 {
		enc := base64.RawStdEncoding.EncodeToString([]byte("\x00\x00\x00"[:shift] + secret))
		from, to := (shift*8+5)/6, (shift*8+len(secret)*8)/6
		if to-from >= minSecret {
			list = append(list, enc[from:to])
		}
	}
	return list
}

// Note records what is neither the client's nor the server's.
func (t *Trace) Note(format string, args ...any) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle()
	t.put('=', fmt.Sprintf(format, args...))
}

// Line records a line that the server ('S') or we ('C') sent.
func (t *Trace) Line(dir byte, line []byte) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.w == nil {
		return
	}
	t.settle()
	switch {
	case t.private > 0:
		t.put(dir, known(dir, line))
	case t.show != nil:
		t.put(dir, t.show(dir, line))
	default:
		t.put(dir, string(line[:min(len(line), 2*maxTraceLine)]))
	}
}

// Content records bytes that are not shown. Those of one direction are counted
// together until something else happens.
func (t *Trace) Content(dir byte, n int) {
	if t == nil || n <= 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dir != dir {
		t.settle()
	}
	t.dir, t.count = dir, t.count+int64(n)
}

// commands records whole lines that we sent.
func (t *Trace) commands(p []byte) {
	if t == nil {
		return
	}
	for line := range bytes.SplitSeq(bytes.TrimSuffix(p, []byte("\r\n")), []byte("\r\n")) {
		t.Line('C', line)
	}
}

// settle writes the count of what was not shown. The caller holds mu.
func (t *Trace) settle() {
	if t.count > 0 {
		n := t.count
		t.count = 0
		t.put(t.dir, fmt.Sprintf("[%d bytes]", n))
	}
	t.dir = 0
}

// put writes one line. The caller holds mu.
func (t *Trace) put(dir byte, text string) {
	if t.w == nil {
		return
	}
	for _, s := range t.secrets {
		text = strings.ReplaceAll(text, s, "[secret]")
	}
	more := ""
	if len(text) > maxTraceLine {
		text, more = text[:maxTraceLine], fmt.Sprintf("... (%d more)", len(text)-maxTraceLine)
	}
	quoted := strconv.QuoteToGraphic(text)
	// Quotation marks are common in protocols and harm nothing here.
	quoted = strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	if _, err := fmt.Fprintf(t.w, "%s %c: %s%s\n", time.Now().UTC().Format("15:04:05.000"), dir, quoted, more); err != nil {
		t.log.Warn("the trace of this connection ends", "driver", t.name, "addr", t.addr, "error", err.Error())
		_ = t.w.Close()
		t.w = nil
	}
}

// end closes the trace, with the reason if there was one.
func (t *Trace) end(why error) {
	if t == nil {
		return
	}
	if why != nil {
		t.Note("closed: %v", why)
	} else {
		t.Note("closed")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.w == nil {
		return
	}
	if err := t.w.Close(); err != nil {
		t.log.Warn("the trace of this connection may be incomplete", "driver", t.name, "addr", t.addr, "error", err.Error())
	}
	t.w = nil
}

// Private begins a part of the conversation that is nobody else's business: a
// login. Until end is called the trace shows only words of the protocol.
func (c *Conn) Private() (end func()) {
	t := c.trace
	if t == nil {
		return func() {}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.private++
	return sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.private--
	})
}

// Hide has a text, such as a token, taken out of what the trace shows from here
// on, should the server repeat it.
func (c *Conn) Hide(secret string) {
	t := c.trace
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.secrets = append(t.secrets, forms(secret)...)
}

// Show has lines shown as the protocol says: those of the server ('S') may hold
// content, which it knows to tell apart. It is called before anything is read.
func (c *Conn) Show(show func(dir byte, line []byte) string) {
	if c.trace != nil {
		c.trace.show = show
	}
}

// verbs are the commands of which a private line shows the name, and the
// mechanism behind it.
var verbs = map[string]bool{"AUTH": true, "AUTHENTICATE": true}

var plainVerbs = map[string]bool{
	"USER": true, "PASS": true, "APOP": true, "LOGIN": true, "CAPA": true, "CAPABILITY": true,
	"EHLO": true, "RSET": true, "QUIT": true, "LOGOUT": true, "NOOP": true,
}

// codes are response codes that may follow a status in brackets.
var codes = map[string]bool{
	"[AUTHENTICATIONFAILED]": true, "[AUTHORIZATIONFAILED]": true, "[UNAVAILABLE]": true, "[EXPIRED]": true,
	"[PRIVACYREQUIRED]": true, "[CONTACTADMIN]": true, "[INUSE]": true, "[LIMIT]": true, "[ALERT]": true,
	"[AUTH]": true, "[SYS/TEMP]": true, "[SYS/PERM]": true, "[IN-USE]": true, "[LOGIN-DELAY]": true,
}

// known makes what a trace shows of a private line: words that can be no
// secret, and how much else there is.
func known(dir byte, line []byte) string {
	words := strings.SplitN(string(line[:min(len(line), 200)]), " ", 4)
	var shown []string
	take := func(n int) {
		shown = append(shown, words[:n]...)
		words = words[n:]
	}
	if len(words) > 1 && isTag(words[0]) {
		take(1)
	}
	if dir == 'C' {
		switch verb := strings.ToUpper(words[0]); {
		case verbs[verb] && len(words) > 1 && isMechanism(words[1]):
			take(2)
		case verbs[verb], plainVerbs[verb]:
			take(1)
		}
	} else if isStatus(words[0]) {
		take(1)
		if len(words) > 0 && (codes[strings.ToUpper(words[0])] || isEnhanced(words[0])) {
			take(1)
		}
	}
	text := strings.Join(shown, " ")
	if len(text) == len(line) {
		return text
	}
	return strings.TrimLeft(fmt.Sprintf("%s [%d bytes of a login]", text, len(line)-len(text)), " ")
}

// isTag tells the tags that package imap makes, and "*".
func isTag(s string) bool {
	if s == "*" {
		return true
	}
	digits, ok := strings.CutPrefix(s, "A")
	return ok && digits != "" && len(digits) < 10 && strings.Trim(digits, "0123456789") == ""
}

func isStatus(s string) bool {
	switch s {
	case "+OK", "-ERR", "OK", "NO", "BAD", "BYE", "+":
		return true
	}
	return len(s) >= 3 && len(s) <= 4 && strings.Trim(s[:3], "0123456789") == "" && (len(s) == 3 || s[3] == '-')
}

// isEnhanced tells an enhanced status code (RFC 3463).
func isEnhanced(s string) bool {
	return len(s) >= 5 && len(s) <= 9 && (s[0] == '2' || s[0] == '4' || s[0] == '5') && strings.Count(s, ".") == 2 && strings.Trim(s, "0123456789.") == ""
}

func isMechanism(s string) bool {
	return len(s) > 0 && len(s) <= 20 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}
