package mime

import (
	"io"
	"time"
)

// A Draft is a message to be composed. The zero value with From and one
// recipient is valid and yields an empty text. A Draft is used by one
// goroutine.
type Draft struct {
	From    Address
	Sender  Address // only if it differs from From
	ReplyTo []Address
	To, Cc  []Address
	// Bcc gets the message but is never written into the header.
	Bcc []Address

	Subject string
	// Date is the origination date; zero means the time of Compose.
	Date time.Time
	// MessageID without angle brackets; "" means that Compose makes one.
	MessageID string
	// InReplyTo and References hold message ids without angle brackets.
	InReplyTo  []string
	References []string

	// Text and HTML are the body in UTF-8. With both the body is
	// multipart/alternative.
	Text, HTML string

	// Attachments are sent as multipart/mixed, those with Inline set as
	// multipart/related with the HTML body that refers to their ContentID.
	Attachments []Attachment

	// Header holds further fields, e.g. X-Priority. Values are UTF-8 text that
	// Compose encodes and folds; fields that Compose writes itself are refused.
	Header []Field

	// AutoSubmitted is the value of Auto-Submitted (RFC 3834), e.g.
	// "auto-replied"; "" omits the field.
	AutoSubmitted string
}

// An Attachment is a file of a Draft.
type Attachment struct {
	// Name is the file name told to the receiver, in UTF-8.
	Name string
	// Type is the media type, "" means application/octet-stream.
	Type string
	// ContentID without angle brackets, for inline images.
	ContentID string
	Inline    bool
	// Open gives the content; it is called each time the message is written.
	Open func() (io.ReadCloser, error)
}
