package dsn

import (
	"strings"

	"github.com/maildriver/maildriver/mime"
)

// The defect of a disposition field that can't be read (RFC 8098 3.2.6).
const DefectDisposition mime.DefectCode = "mdn-disposition"

// A Disposition is a disposition notification (RFC 8098), e.g. a read receipt.
// Fields that the notification lacks are zero.
type Disposition struct {
	// ReportingUA is the reader's host; ReportingProduct the program.
	ReportingUA, ReportingProduct string
	Gateway                       TypedName
	// OriginalRecipient is the address as the sender gave it; FinalRecipient
	// the one that reports. A utf-8 address is decoded (RFC 6533 3).
	OriginalRecipient, FinalRecipient TypedName
	// OriginalMessageID is without angle brackets.
	OriginalMessageID string
	// ActionMode is "manual-action" or "automatic-action", SendingMode
	// "mdn-sent-manually" or "mdn-sent-automatically", both "" if malformed.
	ActionMode, SendingMode string
	// Type is what became of the message: "displayed", "deleted",
	// "dispatched" or "processed"; older programs write others, e.g. "denied"
	// or "failed" (RFC 3798).
	Type string
	// Modifiers follow the type, e.g. "error".
	Modifiers []string
	// Failures, Errors and Warnings are text for people.
	Failures, Errors, Warnings []string
	// Header holds all fields, extensions included.
	Header  mime.Header
	Defects []mime.Defect
}

// ParseDisposition reads the decoded body of a message/disposition-notification
// or message/global-disposition-notification part. It never fails.
func ParseDisposition(body []byte) *Disposition {
	h := mime.ParseHeader(body)
	d := &Disposition{Header: h}
	ua, product, _ := strings.Cut(h.Text("Reporting-UA"), ";")
	d.ReportingUA, d.ReportingProduct = strings.TrimSpace(ua), strings.TrimSpace(product)
	setName(&d.Gateway, h, "MDN-Gateway")
	setAddress(&d.OriginalRecipient, h, "Original-Recipient")
	setAddress(&d.FinalRecipient, h, "Final-Recipient")
	if ids := h.MessageIDs("Original-Message-ID"); len(ids) > 0 {
		d.OriginalMessageID = ids[0]
	}
	d.Failures, d.Errors, d.Warnings = texts(h, "Failure"), texts(h, "Error"), texts(h, "Warning")
	d.disposition(strings.ToLower(h.Text("Disposition")))
	return d
}

// disposition reads "action/sending; type/modifier, modifier". RFC 8098 has
// blanks and comments between all of them.
func (d *Disposition) disposition(s string) {
	modes, what, ok := strings.Cut(dropComments(s), ";")
	if !ok {
		// Some programs leave the modes out.
		modes, what = "", modes
	}
	action, sending, both := strings.Cut(modes, "/")
	d.ActionMode, d.SendingMode = strings.TrimSpace(action), strings.TrimSpace(sending)
	typ, modifiers, _ := strings.Cut(what, "/")
	d.Type = strings.TrimSpace(typ)
	for m := range strings.SplitSeq(modifiers, ",") {
		if m = strings.TrimSpace(m); m != "" && len(d.Modifiers) < maxListed {
			d.Modifiers = append(d.Modifiers, m)
		}
	}
	if !both || d.Type == "" {
		d.Defects = append(d.Defects, mime.Defect{Code: DefectDisposition, Offset: -1})
	}
}

// maxListed bounds the values kept of a field that may be repeated.
const maxListed = 100

// texts gives all fields of a name for reading.
func texts(h mime.Header, name string) []string {
	var all []string
	for f := range h.Fields() {
		if strings.EqualFold(f.Name, name) && len(all) < maxListed {
			if v := oneLine(strings.Join(strings.Fields(mime.DecodeText(f.Value)), " ")); v != "" {
				all = append(all, v)
			}
		}
	}
	return all
}
