package dsn

import "strings"

// A Kind is what sort of automatic message a mail is.
type Kind string

const (
	// KindNone: nothing speaks for an automatic message.
	KindNone Kind = ""
	// KindBounce: at least one recipient did not get the message.
	KindBounce Kind = "bounce"
	// KindDelay: delivery is late and still being tried; no recipient failed.
	KindDelay Kind = "delay"
	// KindDelivered: a report of success (delivered, relayed, expanded).
	KindDelivered Kind = "delivered"
	// KindDisposition: a disposition notification, e.g. a read receipt (RFC 8098).
	KindDisposition Kind = "disposition"
	// KindComplaint: a feedback report, e.g. "this is spam" (RFC 5965).
	KindComplaint Kind = "complaint"
	// KindAutoReply: a program's answer, e.g. a vacation notice (RFC 3834).
	KindAutoReply Kind = "auto-reply"
	// KindAutomatic: written by a program on its own, e.g. by a timer.
	KindAutomatic Kind = "automatic"
	// KindList: sent through a mailing list or in bulk.
	KindList Kind = "list"
)

// Confidence tells how sure a [Result] is of its Kind and recipients.
type Confidence int

const (
	// ConfidenceNone goes with KindNone.
	ConfidenceNone Confidence = iota
	// ConfidenceLow: put together from hints; show it, do not act on it.
	ConfidenceLow
	// ConfidenceMedium: a program's free text with clear words.
	ConfidenceMedium
	// ConfidenceHigh: free text in a known shape with codes or fields.
	ConfidenceHigh
	// ConfidenceCertain: a report in the standard form.
	ConfidenceCertain
)

// String is one English word.
func (c Confidence) String() string {
	switch c {
	case ConfidenceLow:
		return "low"
	case ConfidenceMedium:
		return "medium"
	case ConfidenceHigh:
		return "high"
	case ConfidenceCertain:
		return "certain"
	}
	return "none"
}

// A Result is what a mail tells about the fate of another: one type for
// reports in the standard form, for those that follow no standard, for receipts
// and complaints. All text in it is valid UTF-8 without control characters; it
// comes from outside and is to be trusted as little as the mail itself. A
// Result may be shared for reading.
type Result struct {
	Kind       Kind
	Confidence Confidence
	// Outcomes has the recipients in the order of the report. Complaints name
	// the address that complains, if they do.
	Outcomes []Outcome
	// Original tells which message the report is about.
	Original Original
	// Agent is the system that reports, as it calls itself, or "".
	Agent string
	// Report is the delivery status in the standard form, Disposition the
	// disposition notification, Feedback the feedback report; nil if the mail
	// has none.
	Report      *Report
	Disposition *Disposition
	Feedback    *Feedback
	// Hints are those of the mail's header.
	Hints Hints
}

// An Outcome is what became of the message for one recipient.
type Outcome struct {
	// Recipient is the address as the report gives it, without angle brackets;
	// OriginalRecipient the one the sender used, "" if not told.
	Recipient, OriginalRecipient string
	// Action is one of the five of RFC 3464 2.3.3; a report in free text has
	// "failed" or "delayed". It is "" for complaints.
	Action string
	// Status is the code that fits best: one in the server's own words goes
	// before the Status field, which often says only "5.0.0". If the report
	// has none it is made of the reason, and StatusDerived is true.
	Status        Status
	StatusDerived bool
	// Reply is the SMTP reply code, 0 if not told.
	Reply int
	// Command is the SMTP command that was refused: "CONN" for the
	// connection, "EHLO", "MAIL", "RCPT", "DATA"; "" if not told.
	Command string
	Reason  Reason
	// Hard reports that the address is known to be dead: no such mailbox, no
	// such host, moved, or a domain that takes no mail, told for good and by
	// someone who knows. A full mailbox, a filter and a refusal of content or
	// sender are soft, whatever code they come with. "User unknown" after the
	// whole message was read is soft, too: some filters say so.
	Hard bool
	// Text is the server's answer or the report's words, on one line and cut
	// at MaxText bytes.
	Text string
	// RemoteMTA is the server that refused, "" if not told.
	RemoteMTA string
}

// MaxText bounds Outcome.Text, in bytes.
const MaxText = 2048

// An Original tells what is known of the message that a report is about.
type Original struct {
	// MessageID is without angle brackets, EnvelopeID the ENVID of its
	// submission (RFC 3461 4.4). Both are "" if not told.
	MessageID, EnvelopeID string
	From, Subject         string
	To                    []string
}

// IsZero reports whether nothing is known.
func (o Original) IsZero() bool {
	return o.MessageID == "" && o.EnvelopeID == "" && o.From == "" && o.Subject == "" && len(o.To) == 0
}

// Matches reports whether the result is about the message with this id or this
// ENVID. Anyone can send a report about anything (RFC 3464 4); a host that acts
// on reports keeps the ids of what it sent and asks this first. Empty arguments
// match nothing.
func (r *Result) Matches(messageID, envelopeID string) bool {
	messageID = strings.Trim(strings.TrimSpace(messageID), "<>")
	return messageID != "" && messageID == r.Original.MessageID || envelopeID != "" && envelopeID == r.Original.EnvelopeID
}

// IsReport reports whether the result is a delivery report of any form: a
// bounce, a delay or a success.
func (r *Result) IsReport() bool {
	return r.Kind == KindBounce || r.Kind == KindDelay || r.Kind == KindDelivered
}

// Primary is the outcome that a host with room for one shows: the first that
// failed, else the first; nil if there is none.
func (r *Result) Primary() *Outcome {
	for i := range r.Outcomes {
		if r.Outcomes[i].Action == ActionFailed {
			return &r.Outcomes[i]
		}
	}
	if len(r.Outcomes) > 0 {
		return &r.Outcomes[0]
	}
	return nil
}
