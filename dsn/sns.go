package dsn

import (
	"encoding/json"
	"strings"

	"github.com/maildriver/maildriver/mime"
)

// A cloudNotice is what Amazon SES sends by its notification service: JSON in
// the text of a mail.
type cloudNotice struct {
	Type      string `json:"notificationType"`
	EventType string `json:"eventType"`
	Message   string `json:"Message"` // the notice once more in JSON, inside the envelope of the service
	Mail      struct {
		MessageID     string   `json:"messageId"`
		Source        string   `json:"source"`
		Destination   []string `json:"destination"`
		CommonHeaders struct {
			MessageID string   `json:"messageId"`
			Subject   string   `json:"subject"`
			From      []string `json:"from"`
			To        []string `json:"to"`
		} `json:"commonHeaders"`
	} `json:"mail"`
	Bounce struct {
		Type         string `json:"bounceType"`
		SubType      string `json:"bounceSubType"`
		ReportingMTA string `json:"reportingMTA"`
		Recipients   []struct {
			Address    string `json:"emailAddress"`
			Action     string `json:"action"`
			Status     string `json:"status"`
			Diagnostic string `json:"diagnosticCode"`
		} `json:"bouncedRecipients"`
	} `json:"bounce"`
	Complaint struct {
		Recipients []struct {
			Address string `json:"emailAddress"`
		} `json:"complainedRecipients"`
	} `json:"complaint"`
	Delivery struct {
		Recipients   []string `json:"recipients"`
		Response     string   `json:"smtpResponse"`
		ReportingMTA string   `json:"reportingMTA"`
	} `json:"delivery"`
}

// readNotice finds a notice in text; what follows the JSON does not matter.
func readNotice(text string) (n cloudNotice, ok bool) {
	for range 2 {
		text = strings.TrimSpace(text)
		if !strings.HasPrefix(text, "{") {
			return n, false
		}
		n = cloudNotice{}
		if err := json.NewDecoder(strings.NewReader(text)).Decode(&n); err != nil {
			return n, false
		}
		if n.Type == "" {
			n.Type = n.EventType
		}
		if n.Type == "Bounce" || n.Type == "Complaint" || n.Type == "Delivery" {
			return n, true
		}
		text = n.Message
	}
	return n, false
}

// notification reads such a notice.
func (a *analysis) notification() bool {
	_, body := a.find(func(p *mime.Part) bool { return p.Type == "text/plain" })
	if len(body) == 0 || !strings.HasPrefix(strings.TrimSpace(string(body[:min(len(body), 64)])), "{") {
		return false
	}
	n, ok := readNotice(string(body))
	if !ok {
		return false
	}
	r := a.result
	r.Original = Original{MessageID: strings.Trim(n.Mail.CommonHeaders.MessageID, "<>"), EnvelopeID: oneLine(n.Mail.MessageID), From: oneLine(n.Mail.Source), Subject: oneLine(n.Mail.CommonHeaders.Subject)}
	r.Original.MessageID = oneLine(r.Original.MessageID)
	for _, to := range n.Mail.Destination[:min(len(n.Mail.Destination), maxListed)] {
		r.Original.To = append(r.Original.To, oneLine(to))
	}
	switch n.Type {
	case "Bounce":
		r.Agent = n.Bounce.ReportingMTA
		for _, b := range n.Bounce.Recipients[:min(len(n.Bounce.Recipients), maxMentions)] {
			o := Outcome{Recipient: b.Address, Action: firstWord(b.Action), Text: shortLine(typed(b.Diagnostic).Value)}
			if o.Action == "" {
				o.Action = ActionFailed
			}
			ev := evidence{diagnostic: o.Text, field: findStatus(b.Status), only: true}
			ev.settle(&o, nil)
			// The service knows better than the words where it gives up on an
			// address by itself.
			if n.Bounce.Type == "Permanent" && (n.Bounce.SubType == "NoEmail" || n.Bounce.SubType == "Suppressed") {
				o.Reason, o.Hard = ReasonUserUnknown, true
			}
			r.Outcomes = append(r.Outcomes, o)
		}
		r.Kind = kindOf(r.Outcomes)
	case "Complaint":
		for _, c := range n.Complaint.Recipients[:min(len(n.Complaint.Recipients), maxMentions)] {
			r.Outcomes = append(r.Outcomes, Outcome{Recipient: c.Address, Reason: ReasonComplaint})
		}
		r.Kind = KindComplaint
	case "Delivery":
		r.Agent = n.Delivery.ReportingMTA
		for _, to := range n.Delivery.Recipients[:min(len(n.Delivery.Recipients), maxMentions)] {
			o := Outcome{Recipient: to, Action: ActionDelivered, Text: shortLine(n.Delivery.Response)}
			o.Status, _ = ParseStatus(o.Text)
			r.Outcomes = append(r.Outcomes, o)
		}
		r.Kind = KindDelivered
	}
	if len(r.Outcomes) == 0 {
		r.Kind, r.Original = KindNone, Original{}
		return false
	}
	r.Confidence = ConfidenceHigh
	return true
}
