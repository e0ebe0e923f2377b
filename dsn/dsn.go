package dsn

import (
	"bytes"
	"strings"

	"github.com/maildriver/maildriver/mime"
)

// The actions of RFC 3464 2.3.3.
const (
	ActionFailed    = "failed"
	ActionDelayed   = "delayed"
	ActionDelivered = "delivered"
	ActionRelayed   = "relayed"
	ActionExpanded  = "expanded"
)

// The defects that Parse reports.
const (
	// DefectEmpty: the part holds no field at all.
	DefectEmpty mime.DefectCode = "dsn-empty"
	// DefectNoRecipient: there is no per-recipient group (RFC 3464 2.1).
	DefectNoRecipient mime.DefectCode = "dsn-no-recipient"
	// DefectGroup: fields stand in a group where they do not belong, or blank
	// lines cut a group apart.
	DefectGroup mime.DefectCode = "dsn-group"
	// DefectAction: the action is missing or none of the five (RFC 3464 2.3.3).
	DefectAction mime.DefectCode = "dsn-action"
	// DefectStatus: the status is missing or malformed (RFC 3464 2.3.4).
	DefectStatus mime.DefectCode = "dsn-status"
	// DefectXText: a "+" that starts no pair of hexadecimal digits.
	DefectXText mime.DefectCode = "dsn-xtext"
)

// MaxRecipients bounds the groups kept of one report.
const MaxRecipients = 10_000

// A TypedName is a name with the kind of name it is, e.g. {"dns",
// "mx.example.com"} or {"rfc822", "a@example.com"}. The type is in lower case;
// it is "" where the report gives none.
type TypedName struct{ Type, Value string }

// Addr is the value as an address: without the angle brackets that some
// reporters write around it.
func (t TypedName) Addr() string {
	v := strings.TrimSpace(t.Value)
	if len(v) > 1 && v[0] == '<' && v[len(v)-1] == '>' {
		v = strings.TrimSpace(v[1 : len(v)-1])
	}
	return v
}

// A Diagnostic is the reply that caused the action, e.g. {"smtp", "550 no such
// user"}: the type in lower case, the text unfolded.
type Diagnostic struct{ Type, Text string }

// A Recipient is one per-recipient group (RFC 3464 2.3). Fields that the
// report lacks are zero.
type Recipient struct {
	// OriginalRecipient is the address as the sender gave it, FinalRecipient as
	// it was in the end, comments left out. A utf-8 address is decoded (RFC 6533 3).
	OriginalRecipient, FinalRecipient TypedName
	// Action is the first word of the field in lower case, comments left out.
	Action string
	// Status is the enhanced status code "x.y.z", or "" if there is none in
	// StatusRaw, which is the field as it stands.
	Status, StatusRaw string
	RemoteMTA         TypedName
	Diagnostic        Diagnostic
	// LastAttemptDate, FinalLogID and WillRetryUntil are as written,
	// runs of blanks as one.
	LastAttemptDate, FinalLogID, WillRetryUntil string
	// Header holds all fields of the group, extensions included.
	Header mime.Header
}

// A Report is the content of a message/delivery-status part.
type Report struct {
	ReportingMTA, ReceivedFromMTA, DSNGateway TypedName
	// OriginalEnvelopeID is the ENVID of the failed submission, xtext decoded.
	OriginalEnvelopeID string
	// ArrivalDate is as written, runs of blanks as one.
	ArrivalDate string
	Recipients  []Recipient
	// Header holds all per-message fields, extensions included.
	Header  mime.Header
	Defects []mime.Defect
}

// Parse reads the decoded body of a message/delivery-status or
// message/global-delivery-status part. It never fails; a body that is no
// report gives a Report without recipients. A group is a recipient, as RFC 3464
// 2.1 has it, even if the blank line before the next one was left out;
// [Result.Report] has such recipients one by one.
func Parse(status []byte) *Report { return parse(status, false) }

// parse also takes groups apart that were run together.
func parse(status []byte, apart bool) *Report {
	r := &Report{}
	seenMessage := false
	groups := splitGroups(status)
	if len(groups) == 0 {
		r.defect(DefectEmpty, "")
	}
	for i := 0; i < len(groups); i++ {
		g, rest := splitRecipient(groups[i])
		if len(rest) > 0 {
			r.defect(DefectGroup, "several recipients in one group")
			if apart {
				groups[i] = rest
				i--
			} else {
				g = groups[i]
			}
		}
		h := mime.ParseHeader(g)
		if h.Len() == 0 {
			continue
		}
		perRecipient := isRecipientGroup(h)
		perMessage := isMessageGroup(h)
		switch {
		case perRecipient && perMessage:
			// The blank line between the groups was left out.
			r.defect(DefectGroup, "per-message and per-recipient fields in one group")
			r.message(h, !seenMessage)
			seenMessage = true
			r.recipient(h)
		case perRecipient:
			r.recipient(h)
		case perMessage || !seenMessage && len(r.Recipients) == 0:
			if seenMessage || len(r.Recipients) > 0 {
				r.defect(DefectGroup, "per-message fields in several groups")
			}
			r.message(h, !seenMessage)
			seenMessage = true
		case len(r.Recipients) > 0:
			// A blank line inside a group: what is missing there is taken from here.
			r.defect(DefectGroup, "a blank line inside a group")
			r.Recipients[len(r.Recipients)-1].fill(h)
		default:
			r.message(h, false)
		}
	}
	if len(r.Recipients) == 0 && len(groups) > 0 {
		r.defect(DefectNoRecipient, "")
	}
	return r
}

// Primary is the recipient that a host with room for one shows: the first that
// failed, else the first; nil if there is none.
func (r *Report) Primary() *Recipient {
	for i := range r.Recipients {
		if r.Recipients[i].Action == ActionFailed {
			return &r.Recipients[i]
		}
	}
	if len(r.Recipients) > 0 {
		return &r.Recipients[0]
	}
	return nil
}

func (r *Report) defect(code mime.DefectCode, detail string) {
	const maxDefects = 64
	if len(r.Defects) < maxDefects {
		r.Defects = append(r.Defects, mime.Defect{Code: code, Offset: -1, Detail: detail})
	}
}

// splitGroups cuts the body at its blank lines.
func splitGroups(b []byte) [][]byte {
	if !bytes.Contains(b, []byte("\n")) { // CR alone ends lines
		b = bytes.ReplaceAll(b, []byte("\r"), []byte("\n"))
	}
	var groups [][]byte
	start, off := 0, 0
	cut := func(end int) {
		if len(bytes.TrimSpace(b[start:end])) > 0 {
			groups = append(groups, b[start:end])
		}
	}
	for off < len(b) {
		end := len(b)
		if i := bytes.IndexByte(b[off:], '\n'); i >= 0 {
			end = off + i + 1
		}
		if len(bytes.TrimSpace(b[off:end])) == 0 {
			cut(off)
			start = end
		}
		off = end
	}
	cut(len(b))
	return groups
}

// splitRecipient cuts a group that names a second final recipient before the
// first field of that one.
func splitRecipient(g []byte) (first, rest []byte) {
	names := [...]string{"final-recipient:", "original-recipient:", "action:", "status:"}
	var seen [len(names)]bool
	cut, off := -1, 0
	for off < len(g) {
		end := len(g)
		if i := bytes.IndexByte(g[off:], '\n'); i >= 0 {
			end = off + i + 1
		}
		for i, name := range names {
			if end-off < len(name) || !strings.EqualFold(string(g[off:off+len(name)]), name) {
				continue
			}
			if seen[i] && cut < 0 {
				cut = off
			}
			if seen[i] && i == 0 {
				return g[:cut], g[cut:]
			}
			seen[i] = true
		}
		off = end
	}
	return g, nil
}

func isRecipientGroup(h mime.Header) bool {
	return h.Has("Final-Recipient") || h.Has("Original-Recipient") || h.Has("Action") || h.Has("Status")
}

func isMessageGroup(h mime.Header) bool {
	return h.Has("Reporting-MTA") || h.Has("Arrival-Date") || h.Has("Received-From-MTA") || h.Has("Original-Envelope-Id") || h.Has("DSN-Gateway")
}

// message takes the per-message fields; what is there already stays.
func (r *Report) message(h mime.Header, first bool) {
	if first {
		r.Header = h
	}
	setName(&r.ReportingMTA, h, "Reporting-MTA")
	setName(&r.ReceivedFromMTA, h, "Received-From-MTA")
	setName(&r.DSNGateway, h, "DSN-Gateway")
	setText(&r.ArrivalDate, h, "Arrival-Date")
	if r.OriginalEnvelopeID == "" {
		id, ok := decodeEnvelopeID(h.Text("Original-Envelope-Id"))
		if !ok {
			r.defect(DefectXText, "Original-Envelope-Id")
		}
		r.OriginalEnvelopeID = oneLine(id)
	}
}

func (r *Report) recipient(h mime.Header) {
	// Original-Recipient may stand in a group of its own before the rest.
	if n := len(r.Recipients); n > 0 && !h.Has("Final-Recipient") && !h.Has("Original-Recipient") {
		if last := &r.Recipients[n-1]; last.Action == "" && last.StatusRaw == "" {
			r.defect(DefectGroup, "a blank line inside a group")
			last.fill(h)
			return
		}
	}
	if len(r.Recipients) == MaxRecipients {
		return
	}
	rc := Recipient{Header: h}
	rc.fill(h)
	switch rc.Action {
	case ActionFailed, ActionDelayed, ActionDelivered, ActionRelayed, ActionExpanded:
	default:
		r.defect(DefectAction, "")
	}
	if rc.Status == "" {
		r.defect(DefectStatus, "")
	}
	r.Recipients = append(r.Recipients, rc)
}

// fill takes the fields that are not there yet.
func (rc *Recipient) fill(h mime.Header) {
	setAddress(&rc.OriginalRecipient, h, "Original-Recipient")
	setAddress(&rc.FinalRecipient, h, "Final-Recipient")
	setName(&rc.RemoteMTA, h, "Remote-MTA")
	if rc.Action == "" {
		rc.Action = firstWord(h.Get("Action"))
	}
	if rc.StatusRaw == "" {
		rc.StatusRaw = h.Text("Status")
		if rc.Status = findStatus(dropComments(rc.StatusRaw)); rc.Status == "" {
			rc.Status = findStatus(rc.StatusRaw)
		}
	}
	if rc.Diagnostic == (Diagnostic{}) {
		t := typed(h.Text("Diagnostic-Code"))
		rc.Diagnostic = Diagnostic{t.Type, t.Value}
	}
	setText(&rc.LastAttemptDate, h, "Last-Attempt-Date")
	setText(&rc.FinalLogID, h, "Final-Log-ID")
	setText(&rc.WillRetryUntil, h, "Will-Retry-Until")
}

func setText(dst *string, h mime.Header, name string) {
	if *dst == "" {
		*dst = strings.Join(strings.Fields(h.Text(name)), " ")
	}
}

func setName(dst *TypedName, h mime.Header, name string) {
	if *dst == (TypedName{}) {
		*dst = typed(h.Text(name))
	}
}

// setAddress reads an address with its type; a utf-8 address is decoded.
func setAddress(dst *TypedName, h mime.Header, name string) {
	if *dst != (TypedName{}) {
		return
	}
	t := typed(h.Text(name))
	if bare := strings.TrimSpace(dropComments(t.Value)); isAddress(TypedName{Value: bare}.Addr()) {
		t.Value = bare // other types, X.400 and pipes, may have parentheses of their own
	}
	if t.Type == "utf-8" {
		t.Value = decodeUTF8Address(t.Value)
	}
	*dst = t
}

// typed cuts "type; value" (RFC 3464 2.1.2), comments around the type left
// out. Without a semicolon all is value.
func typed(s string) TypedName {
	i := skipComments(s, ';')
	t := ""
	if i >= 0 {
		t = strings.TrimSpace(dropComments(s[:i]))
	}
	if i < 0 || strings.ContainsAny(t, " \t@") {
		return TypedName{Value: strings.TrimSpace(s)}
	}
	return TypedName{strings.ToLower(t), strings.TrimSpace(s[i+1:])}
}

// firstWord is the first word in lower case, comments left out.
func firstWord(s string) string {
	f := strings.FieldsFunc(strings.ToLower(dropComments(s)), func(r rune) bool { return r <= ' ' || r == ';' || r == ',' })
	if len(f) == 0 {
		return ""
	}
	return oneLine(f[0])
}

// findStatus finds the first "x.y.z" of RFC 3463 2 in s: a class of 2, 4 or 5,
// then two numbers of up to three digits.
func findStatus(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != '2' && c != '4' && c != '5' || i > 0 && (digit(s[i-1]) || s[i-1] == '.') {
			continue
		}
		j := i + 1
		for part := 0; ; part++ {
			if part == 2 {
				if j < len(s) && (digit(s[j]) || s[j] == '.' && j+1 < len(s) && digit(s[j+1])) {
					break
				}
				return s[i:j]
			}
			if j >= len(s) || s[j] != '.' {
				break
			}
			k := j + 1
			for k < len(s) && k-j <= 3 && digit(s[k]) {
				k++
			}
			if k == j+1 {
				break
			}
			j = k
		}
	}
	return ""
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// oneLine drops control characters that decoding brought in.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
