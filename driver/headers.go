package driver

import (
	"strings"

	"github.com/maildriver/maildriver/mime"
)

// readHeader fills the event's typed fields from the root's header.
func (ev *Event) readHeader(h mime.Header) {
	ev.Subject = h.Text("Subject")
	ev.Prefix = mime.SubjectPrefix(ev.Subject)
	ev.ReplyTo, ev.To, ev.Cc = h.Addresses("Reply-To"), h.Addresses("To"), h.Addresses("Cc")
	for _, name := range []string{"From", "Sender", "Return-Path"} {
		if a, ok := firstAddress(h.Addresses(name)); ok {
			ev.Sender = a
			break
		}
	}
	ev.SenderAddress = strings.ToLower(ev.Sender.Addr)
	ev.SenderName = ev.Sender.Name
	if ev.SenderName == "" {
		ev.SenderName = ev.SenderAddress
	}
	if ids := h.MessageIDs("Message-ID"); len(ids) > 0 {
		ev.MessageID = ids[0]
	} else {
		ev.MessageID, ev.GeneratedMessageID = ev.ID+"@maildriver.invalid", true
	}
	ev.InReplyTo, ev.References = h.MessageIDs("In-Reply-To"), h.MessageIDs("References")
	ev.Priority = priority(h)
	ev.Sent, _ = h.Date("Date")
	auto, _, _ := strings.Cut(h.Text("Auto-Submitted"), ";") // parameters say nothing about the kind
	ev.AutoSubmitted = strings.ToLower(strings.TrimSpace(auto))
	ev.Precedence = strings.ToLower(h.Text("Precedence"))
	ev.ListID = h.Text("List-Id")
}

func firstAddress(list []mime.Address) (mime.Address, bool) {
	for _, a := range list {
		if a.Addr != "" {
			return a, true
		}
	}
	return mime.Address{}, false
}

// priority reads X-Priority ("1 (Highest)", "5"), else X-MSMail-Priority
// ("High"); what makes no sense is 3, normal.
func priority(h mime.Header) int {
	v := h.Text("X-Priority")
	if v == "" {
		v = h.Text("X-MSMail-Priority")
	}
	v = strings.ToLower(strings.TrimSpace(v))
	word := v
	if i := strings.IndexAny(v, " \t(;"); i >= 0 {
		word = v[:i]
	}
	switch word {
	case "1", "2", "3", "4", "5":
		return int(word[0] - '0')
	case "high", "highest", "urgent":
		return 1
	case "low", "lowest", "non-urgent":
		return 5
	}
	return 3
}

// isNullSender reports whether the mail has the empty return path of a
// notification (RFC 5321 4.5.5).
func isNullSender(h mime.Header) bool {
	return strings.TrimSpace(h.Get("Return-Path")) == "<>"
}
