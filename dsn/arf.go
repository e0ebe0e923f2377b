package dsn

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/maildriver/maildriver/mime"
)

// The feedback types of RFC 5965 7.3, RFC 6430 and RFC 6591.
const (
	FeedbackAbuse       = "abuse"
	FeedbackFraud       = "fraud"
	FeedbackVirus       = "virus"
	FeedbackOther       = "other"
	FeedbackNotSpam     = "not-spam"
	FeedbackAuthFailure = "auth-failure"
)

// The defect of a feedback report without its type (RFC 5965 3.1).
const DefectFeedback mime.DefectCode = "arf-type"

// A Feedback is a feedback report (RFC 5965): a reader or a receiving system
// complains about a message. Fields that the report lacks are zero.
type Feedback struct {
	// Type is in lower case, see FeedbackAbuse and the like.
	Type               string
	UserAgent, Version string
	// OriginalMailFrom is the envelope sender without angle brackets,
	// OriginalRcptTo the envelope recipients; both are often left out for
	// privacy.
	OriginalMailFrom string
	OriginalRcptTo   []string
	// OriginalEnvelopeID is the ENVID of the submission.
	OriginalEnvelopeID string
	// Arrival is when the message came in, zero if it can't be read.
	Arrival      time.Time
	ReportingMTA TypedName
	// SourceIP is where it came from, the zero Addr if it can't be read;
	// SourcePort (RFC 6692) 0 if not told.
	SourceIP   netip.Addr
	SourcePort uint16
	// Incidents is how many such messages the report stands for, at least 1.
	Incidents int
	// AuthenticationResults, ReportedDomains and ReportedURIs as written.
	AuthenticationResults, ReportedDomains, ReportedURIs []string
	// AuthFailure is why authentication failed (RFC 6591 3.1), e.g. "dmarc" or
	// "spf", in lower case; DeliveryResult what was done with the message.
	AuthFailure, DeliveryResult string
	// FeedbackID are the identifiers of RFC 9477, as written.
	FeedbackID string
	// Header holds all fields, extensions included.
	Header  mime.Header
	Defects []mime.Defect
}

// ParseFeedback reads the decoded body of a message/feedback-report part. It
// never fails.
func ParseFeedback(body []byte) *Feedback {
	h := mime.ParseHeader(body)
	f := &Feedback{
		Type: firstWord(h.Text("Feedback-Type")), UserAgent: h.Text("User-Agent"), Version: h.Text("Version"),
		OriginalMailFrom: angled(h.Text("Original-Mail-From")), AuthFailure: firstWord(h.Text("Auth-Failure")),
		DeliveryResult: firstWord(h.Text("Delivery-Result")), FeedbackID: h.Text("CFBL-Feedback-ID"), Incidents: 1, Header: h,
		AuthenticationResults: texts(h, "Authentication-Results"), ReportedDomains: texts(h, "Reported-Domain"), ReportedURIs: texts(h, "Reported-URI"),
	}
	if f.FeedbackID == "" {
		f.FeedbackID = h.Text("Feedback-ID")
	}
	f.OriginalEnvelopeID, _ = decodeEnvelopeID(h.Text("Original-Envelope-Id"))
	f.OriginalEnvelopeID = oneLine(f.OriginalEnvelopeID)
	for _, v := range texts(h, "Original-Rcpt-To") {
		f.OriginalRcptTo = append(f.OriginalRcptTo, angled(v))
	}
	setName(&f.ReportingMTA, h, "Reporting-MTA")
	for _, name := range []string{"Arrival-Date", "Received-Date"} { // the second is what drafts of RFC 5965 had
		if t, ok := h.Date(name); ok && f.Arrival.IsZero() {
			f.Arrival = t
		}
	}
	// Some reporters write the address as a literal of RFC 5321 4.1.3.
	ip := strings.TrimSpace(dropComments(strings.Trim(h.Text("Source-IP"), "[]<> ")))
	f.SourceIP, _ = netip.ParseAddr(strings.TrimPrefix(ip, "IPv6:"))
	if n, err := strconv.ParseUint(h.Text("Source-Port"), 10, 16); err == nil {
		f.SourcePort = uint16(n)
	}
	if n, err := strconv.Atoi(h.Text("Incidents")); err == nil && n > 1 {
		f.Incidents = n
	}
	if f.Type == "" {
		f.Defects = append(f.Defects, mime.Defect{Code: DefectFeedback, Offset: -1})
	}
	return f
}

// angled is an address without its angle brackets and what stands around them.
func angled(s string) string {
	if i := strings.IndexByte(s, '<'); i >= 0 {
		if j := strings.IndexByte(s[i:], '>'); j > 0 {
			return strings.TrimSpace(s[i+1 : i+j])
		}
	}
	return strings.TrimSpace(strings.Trim(s, "<>"))
}
