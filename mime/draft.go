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
	// MessageID without angle brackets; "" means that Compose makes one, in
	// ASCII always.
	MessageID string
	// InReplyTo and References hold message ids without angle brackets. Those
	// that can't be written are left out: with characters beyond ASCII they need
	// UTF8Headers.
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

	// Charset is the charset of Text, HTML and encoded header words, by its IANA
	// name; "" is UTF-8. What it can't say is written in UTF-8 all the same.
	Charset string
	// MaxLineLength bounds the lines of Text and HTML, in bytes without the line
	// end: longer ones make a body quoted-printable or base64, whose lines have
	// 76. 0 is 998, the most that RFC 5322 2.1.1 allows; less than 76 is refused.
	MaxLineLength int
	// Flowed writes Text as format=flowed (RFC 3676), so that readers can fit
	// its paragraphs to their windows.
	Flowed bool
	// TextFromHTML makes a plain text of HTML where Text is empty, so that the
	// message has both. See [HTMLToText].
	TextFromHTML bool
	// UTF8Headers writes headers as UTF-8 (RFC 6532) and takes addresses with
	// such characters. The message then can only go to servers that offer
	// SMTPUTF8 (RFC 6531): see [Composed.SMTPUTF8].
	UTF8Headers bool

	// SignBody, if set, makes the body multipart/signed (RFC 1847), for S/MIME
	// or PGP. It is given the finished body part, its own header included, byte
	// for byte as it will be sent, and returns the detached signature.
	SignBody func(part io.WriterTo) (*Signature, error)
	// Sign, if set, is given the finished message and returns header fields to
	// be put before it, each with its CRLF, e.g. a DKIM-Signature (RFC 6376).
	// Both functions are called once by Compose, which reads the attachments
	// for them.
	Sign func(message io.WriterTo) ([]byte, error)
}

// A Signature is what [Draft.SignBody] makes.
type Signature struct {
	// Protocol is the media type of the signature, e.g.
	// "application/pkcs7-signature" (RFC 8551 3.5.3) or
	// "application/pgp-signature" (RFC 3156 5).
	Protocol string
	// MicAlg names the digest, e.g. "sha-256" or "pgp-sha256".
	MicAlg string
	// Name is the file name of the signature, e.g. "smime.p7s"; "" for none.
	Name string
	// Data is the signature: binary for S/MIME, ASCII armour for PGP.
	Data []byte
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
