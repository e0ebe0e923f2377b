package ews

import (
	"bytes"
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// markup writes XML. What comes from outside goes through text and attr alone.
type markup struct{ bytes.Buffer }

// text writes escaped character data. What XML 1.0 forbids becomes U+FFFD.
func (m *markup) text(s string) *markup {
	_ = xml.EscapeText(&m.Buffer, []byte(s)) // a bytes.Buffer does not fail
	return m
}

// raw writes markup.
func (m *markup) raw(parts ...string) *markup {
	for _, s := range parts {
		m.WriteString(s)
	}
	return m
}

// attr writes ` name="value"`.
func (m *markup) attr(name, value string) *markup {
	return m.raw(" ", name, `="`).text(value).raw(`"`)
}

// element writes <name>value</name>.
func (m *markup) element(name, value string) *markup {
	return m.raw("<", name, ">").text(value).raw("</", name, ">")
}

// operation opens the element of an operation. It declares the prefixes, so
// that it stands for itself: schemas describe what is inside soap:Body.
func operation(name string, attrs ...string) *markup {
	m := new(markup)
	m.raw("<m:", name, ` xmlns:m="`, nsMessages, `" xmlns:t="`, nsTypes, `"`)
	for i := 0; i+1 < len(attrs); i += 2 {
		m.attr(attrs[i], attrs[i+1])
	}
	m.raw(">")
	return m
}

func (m *markup) end(name string) []byte {
	m.raw("</m:", name, ">")
	return m.Bytes()
}

// Identity says how [WithImpersonation] names the account to act for.
type Identity uint8

// The ways to name an account (t:ConnectingSID).
const (
	PrimarySMTPAddress Identity = iota
	SMTPAddress
	PrincipalName
	SID
)

var identityElements = [...]string{
	PrimarySMTPAddress: "t:PrimarySmtpAddress", SMTPAddress: "t:SmtpAddress", PrincipalName: "t:PrincipalName", SID: "t:SID",
}

// envelopeStart writes all that comes before the operation. RequestServerVersion
// stands before ExchangeImpersonation.
func envelopeStart(v Version, set *settings) []byte {
	m := new(markup)
	m.raw(xml.Header, `<soap:Envelope xmlns:soap="`, nsSOAP, `" xmlns:t="`, nsTypes, `"><soap:Header><t:RequestServerVersion`)
	m.attr("Version", v.String()).raw("/>")
	if set.actFor != "" {
		m.raw("<t:ExchangeImpersonation><t:ConnectingSID>")
		m.element(identityElements[set.actAs], set.actFor)
		m.raw("</t:ConnectingSID></t:ExchangeImpersonation>")
	}
	return m.raw("</soap:Header><soap:Body>").Bytes()
}

const envelopeEnd = "</soap:Body></soap:Envelope>"

// newGUID makes a request id (RFC 9562 section 5.4).
func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// A reply is one response message: what became of one object of a request.
type reply struct {
	node  *node
	class string // Success, Warning or Error
	code  string
	text  string
	wait  time.Duration // BackOffMilliseconds
	inner string        // a code inside another

	request string // client-request-id
}

func replyOf(n *node) reply {
	r := reply{node: n, class: n.attr("ResponseClass"), code: n.kid("ResponseCode").value(), text: n.kid("MessageText").value()}
	r.wait, r.inner = hints(n.kid("MessageXml"))
	return r
}

// hints reads MessageXml, whose elements are in the namespace of messages in an
// answer and of types in a fault.
func hints(n *node) (wait time.Duration, inner string) {
	for _, v := range n.all() {
		if v.name.Local != "Value" {
			continue
		}
		switch v.attr("Name") {
		case "BackOffMilliseconds":
			ms, err := strconv.ParseInt(v.value(), 10, 32)
			if err == nil && ms > 0 {
				wait = time.Duration(ms) * time.Millisecond
			}
		case "InnerErrorResponseCode":
			inner = v.value()
		}
	}
	return wait, inner
}

// failed reports whether it is an error. A warning is none, except that it may
// say that the object was never tried. Without a class the code alone tells.
func (r *reply) failed() bool {
	known := r.class == "Success" || r.class == "Warning"
	return r.class == "Error" || r.code == "ErrorBatchProcessingStopped" || !known && r.code != "NoError"
}

// An answer is a SOAP envelope without its response messages, which went to
// each.
type answer struct {
	build build // zero if the server did not say
	fault *fault
	count int // response messages
}

// fault is a SOAP fault.
type fault struct {
	code, text string
	wait       time.Duration
	inner      string
}

var errNotSOAP = errors.New("the answer is no SOAP envelope")

// readAnswer reads an envelope and gives each response message to each, which
// must read it to its end. What comes after the envelope is not looked at.
func readAnswer(d *document, each func(i int, s xml.StartElement) error) (a answer, err error) {
	root, err := d.root()
	if err != nil {
		return a, err
	}
	if root.Name.Space != nsSOAP || root.Name.Local != "Envelope" {
		return a, errNotSOAP
	}
	seen := false
	for {
		s, ok, err := d.start()
		if err != nil {
			return a, err
		}
		if !ok {
			break
		}
		switch s.Name.Local {
		case "Header":
			n, err := d.element(s)
			if err != nil {
				return a, err
			}
			a.build, _ = buildOf(n.kid("ServerVersionInfo"))
		case "Body":
			seen = true
			if err := a.body(d, each); err != nil {
				return a, err
			}
		default:
			return a, errNotSOAP
		}
	}
	if !seen {
		return a, errNotSOAP
	}
	return a, nil
}

// root reads the start tag of the document.
func (d *document) root() (xml.StartElement, error) {
	for {
		t, err := d.token()
		if errors.Is(err, io.EOF) {
			return xml.StartElement{}, errNotSOAP
		}
		if err != nil {
			return xml.StartElement{}, err
		}
		if s, ok := t.(xml.StartElement); ok {
			return s, nil
		}
	}
}

// body reads what is in soap:Body.
func (a *answer) body(d *document, each func(i int, s xml.StartElement) error) error {
	s, ok, err := d.start()
	if err != nil || !ok {
		return errors.Join(err, errNotSOAP)
	}
	if s.Name.Local == "Fault" {
		n, err := d.element(s)
		if err != nil {
			return err
		}
		a.fault = faultOf(n)
		return d.skipRest()
	}
	for {
		s, ok, err := d.start()
		if err != nil {
			return err
		}
		if !ok {
			return d.skipRest()
		}
		if s.Name.Local != "ResponseMessages" {
			if _, err := d.element(s); err != nil {
				return err
			}
			continue
		}
		for {
			s, ok, err := d.start()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if err := each(a.count, s); err != nil {
				return err
			}
			a.count++
		}
	}
}

// skipRest reads the element at hand to its end.
func (d *document) skipRest() error {
	for {
		s, ok, err := d.start()
		if err != nil || !ok {
			return err
		}
		if _, err := d.element(s); err != nil {
			return err
		}
	}
}

// faultOf reads a SOAP fault. Where detail has no code, faultcode may be one:
// "a:ErrorSchemaValidation".
func faultOf(n *node) *fault {
	f := &fault{code: n.kid("detail", "ResponseCode").value(), text: n.kid("detail", "Message").value()}
	if f.text == "" {
		f.text = n.kid("faultstring").value()
	}
	if f.code == "" {
		code := n.kid("faultcode").value()
		if _, local, ok := strings.Cut(code, ":"); ok {
			code = local
		}
		if strings.HasPrefix(code, "Error") {
			f.code = code
		}
	}
	f.wait, f.inner = hints(n.kid("detail", "MessageXml"))
	return f
}
