package dsn

import (
	"strings"

	"github.com/maildriver/maildriver/mime"
)

// IsReport reports whether a whole message, given by the root of its tree, is a
// delivery status notification: a multipart/report with report-type
// delivery-status (RFC 3464 2), or a multipart or bare
// message/delivery-status that lacks the parameter. A disposition notification
// or a feedback report is none, nor is a message that forwards a report.
func IsReport(p *mime.Part) bool {
	switch {
	case p == nil:
		return false
	case isStatus(p):
		return true
	case !p.IsMultipart():
		return false
	}
	if t := strings.ToLower(strings.TrimSpace(p.Params["report-type"])); p.Type == "multipart/report" && t != "" {
		return t == "delivery-status" && !hasOther(p)
	}
	return StatusPart(p) != nil
}

// StatusPart finds the part of a report whose body Parse reads; nil if there is
// none. It looks into multiparts and never into a message inside the message.
func StatusPart(p *mime.Part) *mime.Part {
	if p == nil || isStatus(p) {
		return p
	}
	if !p.IsMultipart() {
		return nil
	}
	for _, c := range p.Children {
		if s := StatusPart(c); s != nil {
			return s
		}
	}
	return nil
}

func isStatus(p *mime.Part) bool {
	return p.Type == "message/delivery-status" || p.Type == "message/global-delivery-status"
}

// hasOther reports a disposition notification under a wrong report-type and no
// delivery status beside it.
func hasOther(p *mime.Part) bool {
	other := false
	for _, c := range p.Children {
		if isStatus(c) {
			return false
		}
		other = other || c.Type == "message/disposition-notification" || c.Type == "message/feedback-report"
	}
	return other
}
