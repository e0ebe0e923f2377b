package mime

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// ErrDraft is matched by every [DraftError].
var ErrDraft = errors.New("mime: draft can't be composed")

// A DraftError tells which field of a Draft can't be written.
type DraftError struct {
	Field  string // as in Draft, e.g. "To" or "Attachments[2].Type"
	Reason string // short, repeats at most a quoted piece of the value
}

func (e *DraftError) Error() string { return "mime: draft field " + e.Field + ": " + e.Reason }

// Is makes errors.Is(err, ErrDraft) true.
func (e *DraftError) Is(target error) bool { return target == ErrDraft }

const (
	// maxAddr bounds an addr-spec; RFC 5321 4.5.3.1 allows 64+1+255.
	maxAddr = 320
	// maxID bounds a message id, so that it fits a line.
	maxID = 900
	// maxReferences bounds References: the first id and the last ones are kept,
	// as RFC 5537 3.4.4 does.
	maxReferences = 50
)

// A Composed is a finished message. Everything in it that could vary (ids,
// date, boundaries) is fixed, so each WriteTo writes the same bytes as long as
// the attachments give the same content. It may be shared among goroutines if
// the Open functions of its attachments may be called by several.
type Composed struct {
	// MessageID is the message id without angle brackets.
	MessageID string
	// From is the addr-spec for the envelope: the Sender's if there is one, else
	// the From's.
	From string
	// Recipients are the addr-specs of To, Cc and Bcc, each once.
	Recipients []string
	// SMTPUTF8 tells that the header or an address holds characters beyond
	// ASCII, so that the transfer needs that extension (RFC 6531).
	SMTPUTF8 bool

	root *node
}

// Compose makes a message of the draft. What a header can't hold is encoded,
// never copied: control characters become blanks, so nothing that stands in a
// Draft can add a field. The output is 7-bit (but for headers where UTF8Headers
// asks for more), has CRLF line ends and no line over 998 characters.
// Attachments are opened only by WriteTo, except those of a message type, which
// must be looked through, and for Sign and SignBody.
//
// The error is a [DraftError], or one of an attachment's Open or Read, of Sign
// or SignBody.
func (d *Draft) Compose() (*Composed, error) {
	d = d.quoted()
	c := &Composed{MessageID: d.MessageID, From: d.From.Addr}
	if err := d.check(); err != nil {
		return nil, err
	}
	if d.Sender.Addr != "" {
		c.From = d.Sender.Addr
	}
	c.Recipients = uniqueAddrs(d.To, d.Cc, d.Bcc)
	if c.MessageID == "" {
		_, domain, _ := SplitAddr(d.From.Addr)
		c.MessageID = newMessageID(domain)
	}
	w, err := d.writer()
	if err != nil {
		return nil, err
	}
	root, err := w.body()
	if err != nil {
		return nil, err
	}
	if d.SignBody != nil {
		if root, err = w.signed(root); err != nil {
			return nil, err
		}
	}
	root.header = append(w.messageHeader(c.MessageID), root.header...)
	c.root = root
	c.SMTPUTF8 = !isASCII(root.header) || !asciiAddrs(append(c.Recipients, c.From))
	if d.Sign != nil {
		if err := c.sign(d.Sign); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func asciiAddrs(list []string) bool {
	for _, a := range list {
		if !isASCII([]byte(a)) {
			return false
		}
	}
	return true
}

// newMessageID makes an id that any mail system can take and answer to: in
// ASCII, also where the domain is not (RFC 5890 2.3.2.1).
func newMessageID(domain string) string {
	if !isASCII([]byte(domain)) {
		var err error
		if domain, err = idna.Lookup.ToASCII(domain); err != nil {
			domain = ""
		}
	}
	if strings.HasPrefix(domain, "[") || !validID(domain, false) {
		domain = "localhost"
	}
	return strings.ToLower(rand.Text()) + "@" + domain
}

// messageHeader writes the message's own fields.
func (d *draftWriter) messageHeader(id string) []byte {
	f := d.folder()
	date := d.Date
	if date.IsZero() {
		date = time.Now()
	}
	f.field("Date")
	f.token(date.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	f.end()
	f.addresses("From", []Address{d.From})
	if d.Sender.Addr != "" && d.Sender.Addr != d.From.Addr {
		f.addresses("Sender", []Address{d.Sender})
	}
	f.addresses("Reply-To", d.ReplyTo)
	f.addresses("To", d.To)
	f.addresses("Cc", d.Cc)
	if len(d.To)+len(d.Cc) == 0 { // only Bcc: the field says no more than that
		f.field("To")
		f.token("undisclosed-recipients:;")
		f.end()
	}
	if d.Subject != "" {
		f.text("Subject", d.Subject)
	}
	f.ids("Message-ID", []string{id})
	f.ids("In-Reply-To", usableIDs(d.InReplyTo, d.UTF8Headers))
	f.ids("References", usableIDs(d.References, d.UTF8Headers))
	if d.AutoSubmitted != "" {
		f.text("Auto-Submitted", d.AutoSubmitted)
	}
	for _, x := range d.Header {
		f.text(x.Name, x.Value)
	}
	f.field("MIME-Version")
	f.token("1.0")
	f.end()
	return f.b
}

// usableIDs leaves out ids that can't be written; they come from other
// people's mail, where they may be anything.
func usableIDs(ids []string, utf8Too bool) []string {
	var out []string
	for _, id := range ids {
		if id = cleanID(id); validID(id, utf8Too) {
			out = append(out, id)
		}
	}
	if len(out) > maxReferences {
		out = append(out[:1:1], out[len(out)-maxReferences+1:]...)
	}
	return out
}

// validID accepts what can stand between angle brackets; beyond ASCII only in
// UTF-8 headers (RFC 6532 3.3).
func validID(id string, utf8Too bool) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	for _, c := range id {
		switch {
		case c <= ' ', isControl(c), c == '<', c == '>', c == utf8.RuneError, c >= 0x7f && !utf8Too, unicode.IsSpace(c):
			return false
		}
	}
	return true
}

func uniqueAddrs(lists ...[]Address) []string {
	seen := map[string]bool{}
	var out []string
	for _, l := range lists {
		for _, a := range l {
			key := a.Addr
			if local, domain, ok := SplitAddr(key); ok { // only the domain knows no case
				key = local + "@" + strings.ToLower(domain)
			}
			if !seen[key] {
				seen[key] = true
				out = append(out, a.Addr)
			}
		}
	}
	return out
}

// ownFields are written by Compose or must never be.
var ownFields = map[string]bool{
	"date": true, "from": true, "sender": true, "reply-to": true, "to": true, "cc": true, "bcc": true, "subject": true,
	"message-id": true, "in-reply-to": true, "references": true, "auto-submitted": true, "mime-version": true,
	"resent-bcc": true, "return-path": true,
}

// quoted copies the draft with local parts quoted that need it. Addresses such
// as "a..b@example.com" are in use, and an answer goes to them in the one form
// that RFC 5321 4.1.2 has for them.
func (d *Draft) quoted() *Draft {
	fix := func(a Address) Address {
		local, domain, ok := SplitAddr(a.Addr)
		if ok && local != "" && local[0] != '"' && !isDotAtom(local) && strings.Trim(local, ".") != "" && isDotAtom(strings.ReplaceAll(local, ".", "")) {
			a.Addr = quoteString(local) + "@" + domain
		}
		return a
	}
	fixAll := func(list []Address) []Address {
		out := make([]Address, len(list))
		for i, a := range list {
			out[i] = fix(a)
		}
		return out
	}
	q := *d
	q.From, q.Sender = fix(d.From), fix(d.Sender)
	q.ReplyTo, q.To, q.Cc, q.Bcc = fixAll(d.ReplyTo), fixAll(d.To), fixAll(d.Cc), fixAll(d.Bcc)
	return &q
}

func (d *Draft) check() error {
	if d.MaxLineLength != 0 && (d.MaxLineLength < base64Lines || d.MaxLineLength > maxLine) {
		return &DraftError{"MaxLineLength", fmt.Sprintf("%d is not between %d and %d", d.MaxLineLength, base64Lines, maxLine)}
	}
	checkAddr := func(field string, a Address) error { return checkAddr(field, a, d.UTF8Headers) }
	if err := checkAddr("From", d.From); err != nil {
		return err
	}
	if d.Sender != (Address{}) {
		if err := checkAddr("Sender", d.Sender); err != nil {
			return err
		}
	}
	if len(d.To)+len(d.Cc)+len(d.Bcc) == 0 {
		return &DraftError{"To", "no recipient"}
	}
	for _, l := range []struct {
		field string
		list  []Address
	}{{"ReplyTo", d.ReplyTo}, {"To", d.To}, {"Cc", d.Cc}, {"Bcc", d.Bcc}} {
		for i, a := range l.list {
			if err := checkAddr(fmt.Sprintf("%s[%d]", l.field, i), a); err != nil {
				return err
			}
		}
	}
	if d.MessageID != "" && !validID(d.MessageID, d.UTF8Headers) {
		return &DraftError{"MessageID", "not a message id: " + quoteShort(d.MessageID)}
	}
	if y := d.Date.Year(); !d.Date.IsZero() && (y < 1900 || y > 9999) {
		return &DraftError{"Date", "year out of range"} // RFC 5322 3.3
	}
	for i, f := range d.Header {
		field := fmt.Sprintf("Header[%d]", i)
		low := strings.ToLower(f.Name)
		switch n, colon := fieldName(f.Name + ":"); {
		case n != len(f.Name) || colon != n || n == 0 || n > foldColumn-2:
			return &DraftError{field, "not a field name: " + quoteShort(f.Name)}
		case ownFields[low], strings.HasPrefix(low, "content-"):
			return &DraftError{field, f.Name + " is written by Compose"}
		}
	}
	return nil
}

// checkAddr accepts what can stand in an envelope and between angle brackets
// without meaning anything else there: "local@domain" in ASCII, or in UTF-8 where
// the draft allows that.
func checkAddr(field string, a Address, utf8Too bool) error {
	bad := func(why string) error { return &DraftError{field, why + ": " + quoteShort(a.Addr)} }
	local, domain, ok := SplitAddr(a.Addr)
	switch {
	case a.Addr == "":
		return &DraftError{field, "no address"}
	case len(a.Addr) > maxAddr:
		return bad(fmt.Sprintf("longer than %d bytes", maxAddr))
	case !ok || local == "" || domain == "":
		return bad("not of the form local@domain")
	}
	for _, r := range a.Addr {
		if isControl(r) || r == utf8.RuneError || r >= 0x80 && !utf8Too {
			return bad("character that an address can't have")
		}
	}
	// The parser must read it as the one address that it says it is.
	list, err := ParseAddressList("<" + a.Addr + ">")
	if err != nil || len(list) != 1 || list[0].Addr != a.Addr {
		return bad("not an address")
	}
	if inner, quoted := strings.CutPrefix(local, `"`); quoted {
		if len(inner) == 0 || inner[len(inner)-1] != '"' {
			return bad("not an address")
		}
	} else if !isDotAtom(local) {
		return bad("local part needs quotes")
	}
	if !validDomain(domain) {
		return bad("not a domain")
	}
	return nil
}

// validDomain accepts host names and address literals (RFC 5321 4.1.2).
func validDomain(s string) bool {
	literal := strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") && len(s) > 2
	if literal {
		s = s[1 : len(s)-1]
	} else if s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < 0x80 && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' && (!literal || c != ':') {
			return false
		}
	}
	return true
}
