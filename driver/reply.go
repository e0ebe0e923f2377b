package driver

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/maildriver/maildriver/dsn"
	"github.com/maildriver/maildriver/mime"
)

// Reply starts an answer to the sender: addressed to Reply-To, else the
// sender, from the profile's address, with Re:, In-Reply-To and References
// (RFC 5322 3.6.4) set. The host fills in Text or HTML and sends what
// [Compose] makes of it; [mime.QuoteText] quotes the original. No file goes
// with it. Its charset is UTF-8, whatever the driver's parameter Charset says;
// [Event.AnswerCharset] gives that of the mail, for systems that read no other.
//
// An answer that a program gives by itself should ask [Event.MayAutoReply]
// first and set AutoSubmitted to "auto-replied".
func (ev *Event) Reply() *mime.Draft {
	var to []mime.Address
	for _, a := range ev.ReplyTo {
		if a.Addr != "" { // "<>" and the like
			to = append(to, a)
		}
	}
	if len(to) == 0 && ev.Sender.Addr != "" {
		to = []mime.Address{ev.Sender}
	}
	d := &mime.Draft{From: ev.Receiver, To: to, Subject: ev.Subject, Charset: "utf-8"}
	if ev.Prefix != "Re" {
		d.Subject = mime.ReplySubject(ev.Subject)
	}
	ev.thread(d)
	return d
}

// ReplyAll is as [Event.Reply], with the other receivers of the mail, but not
// the profile itself, in Cc.
func (ev *Event) ReplyAll() *mime.Draft {
	d := ev.Reply()
	seen := map[string]bool{strings.ToLower(ev.Receiver.Addr): true}
	for _, a := range d.To {
		seen[strings.ToLower(a.Addr)] = true
	}
	for _, a := range slices.Concat(ev.To, ev.Cc) {
		if key := strings.ToLower(a.Addr); key != "" && !seen[key] {
			seen[key] = true
			d.Cc = append(d.Cc, a)
		}
	}
	return d
}

// Forward starts a forward of the mail with Fwd:, its text, and its
// attachments. Files that the driver itself made (the original text, embedded
// messages as XML, text fragments) never go along. The attachments are read
// when the message is sent, so the event's files must still be there.
func (ev *Event) Forward(to ...mime.Address) *mime.Draft {
	d := &mime.Draft{From: ev.Receiver, To: to, Subject: mime.ForwardSubject(ev.Subject), Text: ev.Text, HTML: ev.HTML}
	if ev.MessageID != "" && !ev.GeneratedMessageID {
		d.References = appendID(ev.References, ev.MessageID)
	}
	for _, f := range ev.Files {
		switch {
		case f.whole:
			a := mime.Attachment{Name: f.Name, Type: f.Type + "/" + f.Subtype + "; charset=utf-8"}
			a.Open = func() (io.ReadCloser, error) { return os.Open(f.Path) }
			if f.Supplemental {
				a.Name = "MessageText.txt"
				a.Open = func() (io.ReadCloser, error) { return openOriginalText(f.Path) }
			}
			d.Attachments = append(d.Attachments, a)
			continue
		case f.Generated:
			continue
		}
		d.Attachments = append(d.Attachments, mime.Attachment{
			Name: f.Name, Type: f.Type + "/" + f.Subtype, ContentID: f.ContentID,
			Inline: f.ContentID != "" && f.Disposition != "attachment" && d.HTML != "",
			Open:   func() (io.ReadCloser, error) { return os.Open(f.Path) },
		})
	}
	return d
}

// AnswerCharset gives the charset that the mail is written in, for the Charset
// of an answer. It is "" where the mail does not say, is plain ASCII, or has one
// that cannot be written: then the driver's parameter Charset decides.
func (ev *Event) AnswerCharset() string {
	name := ev.TextCharset
	if name == "" {
		name = ev.HTMLCharset
	}
	if strings.EqualFold(name, "us-ascii") || checkDraft(mime.Draft{Charset: name}) != nil {
		return ""
	}
	return name
}

func (ev *Event) thread(d *mime.Draft) {
	if ev.MessageID == "" || ev.GeneratedMessageID {
		return
	}
	d.InReplyTo = []string{ev.MessageID}
	refs := ev.References
	if len(refs) == 0 && len(ev.InReplyTo) == 1 {
		refs = ev.InReplyTo // RFC 5322 3.6.4
	}
	d.References = appendID(refs, ev.MessageID)
}

// maxReferences bounds References: the first id and the latest ones are what
// keeps a thread together.
const maxReferences = 30

func appendID(refs []string, id string) []string {
	out := append(slices.Clone(refs), id)
	if len(out) > maxReferences {
		out = slices.Concat(out[:1], out[len(out)-maxReferences+1:])
	}
	return out
}

// Reasons why [Event.MayAutoReply] says no.
var (
	ErrNoSender      = errors.New("the mail has no sender to answer")
	ErrNotification  = errors.New("the mail is a delivery notification or has the null return path")
	ErrAutoSubmitted = errors.New("the mail was written by a program")
	ErrMailingList   = errors.New("the mail came through a mailing list or in bulk")
	ErrOwnAddress    = errors.New("the mail came from the profile's own address")
	ErrLoop          = errors.New("the sender is a loopback candidate")
)

// MayAutoReply returns nil if a program may answer this mail by itself under
// the rules of RFC 3834 section 2, else the reason why it must not.
func (ev *Event) MayAutoReply() error {
	switch {
	case ev.SenderAddress == "":
		return ErrNoSender
	case ev.DSN != nil, ev.Message != nil && isNullSender(ev.Message.Header),
		strings.HasPrefix(ev.SenderAddress, "mailer-daemon@"):
		return ErrNotification
	case ev.Report != nil && (ev.Report.IsReport() || ev.Report.Kind == dsn.KindDisposition || ev.Report.Kind == dsn.KindComplaint):
		return ErrNotification
	case ev.AutoSubmitted != "" && ev.AutoSubmitted != "no", ev.Report != nil && ev.Report.Hints.Automatic:
		return ErrAutoSubmitted
	case ev.Report != nil && (ev.Report.Hints.List || ev.Report.Hints.Bulk):
		return ErrMailingList
	case ev.ListID != "", ev.Precedence == "bulk", ev.Precedence == "list", ev.Precedence == "junk":
		return ErrMailingList
	case ev.SenderAddress == strings.ToLower(ev.Receiver.Addr):
		return ErrOwnAddress
	case ev.LoopbackCandidate:
		return ErrLoop
	}
	return nil
}
