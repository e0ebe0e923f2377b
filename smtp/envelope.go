package smtp

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/maildriver/maildriver/driver"
)

const (
	maxEnvID = 100 // RFC 3461 section 4.4
	maxOrcpt = 500 // RFC 3461 section 4.2
)

// An envelope is a message's envelope, checked and encoded. Every string in it
// can go into a command as it is.
type envelope struct {
	from       mailbox // empty for the null path
	to         []forwardPath
	envID      string // xtext, "" for none
	ret        string
	dsn        bool   // something of RFC 3461 is asked for
	by         string // value of BY (RFC 2852), "" for none
	deliverBy  *driver.DeliverBy
	priority   int
	requireTLS bool
	utf8Header bool // the message says that its header is UTF-8
}

type forwardPath struct {
	path   mailbox
	notify string // "SUCCESS,FAILURE", "" for none
	orcpt  string // "rfc822;" and xtext, "" for none
}

// newEnvelope checks everything of m that goes into commands and reports all
// that is wrong with it, each as an [*ArgumentError].
func newEnvelope(m *driver.Message, notify []string) (*envelope, error) {
	e := &envelope{
		to: make([]forwardPath, 0, len(m.To)), requireTLS: m.RequireTLS, utf8Header: m.SMTPUTF8,
		deliverBy: m.DeliverBy, priority: m.Priority,
	}
	var errs []error
	path := func(what, addr string) mailbox {
		out, err := encodePath(addr)
		if err != nil {
			errs = append(errs, &ArgumentError{what, addr, err})
		}
		return out
	}
	take := func(what, value string, encode func(string) (string, error)) string {
		out, err := encode(value)
		if err != nil {
			errs = append(errs, &ArgumentError{what, value, err})
		}
		return out
	}
	if m.From != "" {
		e.from = path("sender", m.From)
	}
	if len(m.To) == 0 {
		errs = append(errs, errors.New("the message has no recipients"))
	}
	if m.Open == nil {
		errs = append(errs, errors.New("the message has no Open"))
	}
	e.envID = take("ENVID", m.EnvelopeID, encodeEnvID)
	e.ret = take("RET", m.Return, encodeReturn)
	for _, r := range m.To {
		set := r.Notify
		if set == nil {
			set = notify
		}
		f := forwardPath{
			path:  path("recipient", r.Address),
			orcpt: take("ORCPT", r.Original, encodeOrcpt),
		}
		f.notify = take("NOTIFY", strings.Join(set, ","), encodeNotify)
		e.dsn = e.dsn || f.notify != "" || f.orcpt != ""
		e.to = append(e.to, f)
	}
	e.dsn = e.dsn || e.envID != "" || e.ret != ""
	if m.Priority < -9 || m.Priority > 9 {
		errs = append(errs, &ArgumentError{"MT-PRIORITY", strconv.Itoa(m.Priority), errors.New("not between -9 and 9")})
	}
	var err error
	if e.by, err = encodeBy(m.DeliverBy); err != nil {
		errs = append(errs, &ArgumentError{"DELIVERBY", m.DeliverBy.Within.String(), err})
	}
	return e, errors.Join(errs...)
}

// wantsEnvID reports whether an ENVID should be made of the message's id:
// notifications are asked for, and come back with something to know them by.
func (e *envelope) wantsEnvID() bool {
	return e.envID == "" && slices.ContainsFunc(e.to, func(f forwardPath) bool { return f.notify != "" && f.notify != "NEVER" })
}

// check reports whether what the message asks for can be had from a server
// with these extensions. DSN alone is done without: the receipt then is all
// that one learns.
func (e *envelope) check(x *extensions) error {
	if e.requireTLS {
		switch {
		case !x.tls:
			return &ExtensionError{"REQUIRETLS", "the message may only go over TLS, which this connection has not, and"}
		case !x.verified: // RFC 8689 section 4.2.1
			return ErrUnverified
		case !x.has("REQUIRETLS"):
			return &ExtensionError{"REQUIRETLS", "the message may only go over TLS and"}
		}
	}
	if e.by != "" {
		if !x.has("DELIVERBY") {
			return &ExtensionError{"DELIVERBY", "the message has a time limit and"}
		}
		// The least time that the server takes with return (RFC 2852 section 2).
		least, err := strconv.ParseInt(strings.TrimSpace(x.keywords["DELIVERBY"]), 10, 64)
		if err == nil && e.deliverBy.Return && e.deliverBy.Within < time.Duration(least)*time.Second {
			return &ArgumentError{"DELIVERBY", e.deliverBy.Within.String(), fmt.Errorf("less than the %d seconds that the server asks for", least)}
		}
	}
	if e.priority != 0 && !x.has("MT-PRIORITY") {
		return &ExtensionError{"MT-PRIORITY", "the message has a priority and"}
	}
	if x.has("SMTPUTF8") {
		return nil
	}
	if e.utf8Header {
		return &ExtensionError{"SMTPUTF8", "the header is in UTF-8 and"}
	}
	if e.from.text != "" && e.from.ascii == "" {
		return &ExtensionError{"SMTPUTF8", "the sender's address is beyond ASCII and"}
	}
	for _, f := range e.to {
		if f.path.ascii == "" {
			return &ExtensionError{"SMTPUTF8", "the address of a recipient is beyond ASCII and"}
		}
	}
	return nil
}

// international reports whether the message goes as one of SMTPUTF8: if it must
// and can. One whose addresses have ASCII forms goes everywhere without.
func (e *envelope) international(x *extensions, c *content) bool {
	if !x.has("SMTPUTF8") {
		return false
	}
	return e.utf8Header || c.utf8Header || e.from.text != e.from.ascii && e.from.ascii == "" ||
		slices.ContainsFunc(e.to, func(f forwardPath) bool { return f.path.ascii == "" })
}

// mail gives the command MAIL.
func (e *envelope) mail(x *extensions, c *content) string {
	international := e.international(x, c)
	b := append(make([]byte, 0, 128), "MAIL FROM:<"...)
	b = append(b, e.from.form(international)...)
	b = append(b, '>')
	if x.has("SIZE") {
		b = append(b, " SIZE="...)
		b = strconv.AppendInt(b, c.size, 10)
	}
	switch {
	case c.binary():
		b = append(b, " BODY=BINARYMIME"...)
	case c.eightBit && x.has("8BITMIME"):
		b = append(b, " BODY=8BITMIME"...)
	}
	if international {
		b = append(b, " SMTPUTF8"...)
	}
	if x.has("DSN") {
		if e.ret != "" {
			b = append(b, " RET="+e.ret...)
		}
		if e.envID != "" {
			b = append(b, " ENVID="+e.envID...)
		}
	}
	if e.requireTLS {
		b = append(b, " REQUIRETLS"...)
	}
	if e.by != "" {
		b = append(b, " BY="+e.by...)
	}
	if e.priority != 0 {
		b = append(b, " MT-PRIORITY="...)
		b = strconv.AppendInt(b, int64(e.priority), 10)
	}
	return string(b)
}

// rcpt gives the command RCPT for one recipient.
func (f *forwardPath) rcpt(x *extensions, international bool) string {
	s := "RCPT TO:<" + f.path.form(international) + ">"
	if x.has("DSN") {
		if f.notify != "" {
			s += " NOTIFY=" + f.notify
		}
		if f.orcpt != "" {
			s += " ORCPT=" + f.orcpt
		}
	}
	return s
}

// domain is what RCPTDOMAINMAX counts.
func (f *forwardPath) domain() string {
	return strings.ToLower(f.path.text[strings.LastIndexByte(f.path.text, '@')+1:])
}

const maxBySeconds = 999_999_999 // RFC 2852 section 4

// encodeBy gives the value of BY: "120;R", "-5;NT".
func encodeBy(d *driver.DeliverBy) (string, error) {
	if d == nil {
		return "", nil
	}
	seconds := int64(d.Within / time.Second)
	switch {
	case seconds > maxBySeconds || seconds < -maxBySeconds:
		return "", fmt.Errorf("more than %d seconds", maxBySeconds)
	case d.Return && seconds <= 0:
		return "", errors.New("not positive, though the message is to be returned")
	}
	s := strconv.FormatInt(seconds, 10) + ";N"
	if d.Return {
		s = s[:len(s)-1] + "R"
	}
	if d.Trace {
		s += "T"
	}
	return s, nil
}

// xtext encodes printable ASCII and spaces (RFC 3461 section 4).
func xtext(s string) (string, error) {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~':
			return "", fmt.Errorf("byte %d is not printable ASCII", i)
		case c == ' ' || c == '+' || c == '=':
			fmt.Fprintf(&b, "+%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

// utf8Text encodes an internationalized address in ASCII (RFC 6533 section 3).
func utf8Text(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", errors.New("not UTF-8")
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r < ' ' || r == 0x7f:
			return "", fmt.Errorf("byte %d is not printable", i)
		case r > '~' || r == ' ' || r == '+' || r == '=' || r == '\\':
			fmt.Fprintf(&b, `\x{%X}`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String(), nil
}

func encodeEnvID(s string) (string, error) {
	x, err := xtext(s)
	if err == nil && len(x) > maxEnvID {
		return "", fmt.Errorf("%d bytes in xtext, limit %d", len(x), maxEnvID)
	}
	return x, err
}

func encodeOrcpt(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	kind, addr, ok := strings.Cut(s, ";")
	if !ok || kind == "" || addr == "" || strings.ContainsFunc(kind, func(r rune) bool { return r > '~' || !isAtext(byte(r)) }) {
		return "", errors.New(`not of the form "rfc822;address"`)
	}
	encode := xtext
	if strings.EqualFold(kind, "utf-8") {
		encode = utf8Text
	}
	x, err := encode(addr)
	if err == nil && len(kind)+1+len(x) > maxOrcpt {
		return "", fmt.Errorf("%d bytes in xtext, limit %d", len(kind)+1+len(x), maxOrcpt)
	}
	return kind + ";" + x, err
}

func encodeReturn(s string) (string, error) {
	switch up := strings.ToUpper(s); up {
	case "", "FULL", "HDRS":
		return up, nil
	}
	return "", errors.New("not one of FULL, HDRS")
}

// encodeNotify checks a list as RFC 3461 section 4.1 has it: NEVER alone, or
// each of the others once at most.
func encodeNotify(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	var set []string
	for word := range strings.SplitSeq(strings.ToUpper(s), ",") {
		switch word {
		case "NEVER", "SUCCESS", "FAILURE", "DELAY":
		default:
			return "", errors.New("not NEVER, or of SUCCESS, FAILURE, DELAY")
		}
		if !slices.Contains(set, word) {
			set = append(set, word)
		}
	}
	if len(set) > 1 && slices.Contains(set, "NEVER") {
		return "", errors.New("NEVER stands alone")
	}
	return strings.Join(set, ","), nil
}
