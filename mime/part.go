package mime

import (
	"io"
	"iter"
)

// A Part is one node of the tree that [Parse] builds: the message itself, a
// member of a multipart, or the message inside a message/rfc822 part. A Part
// holds what was said about the content, never the content, which goes to the
// [Sink] while it is read.
//
// A Part is complete once [Sink.End] was called for it, and is not changed
// afterwards; it may then be read by any number of goroutines.
type Part struct {
	// Path is the position in the tree as IMAP section numbers write it
	// (RFC 9051 6.4.5.1): "" for the root, "2", "2.1". The message inside a
	// message/rfc822 part "2" is its only child and has the path "2.0"; the
	// members of that message, if it is a multipart, are "2.1", "2.2".
	Path   string
	Parent *Part

	Header Header

	// Type is the media type in lower case, "text/plain" when the field is
	// missing or can't be read (RFC 2045 5.2); Params are its parameters,
	// names in lower case, RFC 2231 and RFC 2047 forms decoded.
	Type   string
	Params map[string]string

	// Disposition is the Content-Disposition in lower case, "" when absent.
	// DispositionParams are its parameters, decoded like Params.
	Disposition       string
	DispositionParams map[string]string

	// Encoding is the transfer encoding used to decode the body, in lower
	// case, "" and unknown ones mean 7bit.
	Encoding string

	// Name is the file name offered by the sender, decoded, or "". It is data:
	// never use it as a path. See SafeName.
	Name string

	// Charset is the declared charset of a text part in lower case, "" if none.
	Charset string

	// ContentID is the Content-ID without angle brackets.
	ContentID string

	// Children are the members of a multipart, or the one message inside a
	// message/rfc822 part. A multipart in which no delimiter is found has one
	// text/plain child without a header, which is its whole body.
	Children []*Part

	// Offset is where the part's header starts in the stream given to Parse,
	// BodyOffset where its body starts, RawSize the length of the body as it
	// stands there. So the raw bytes of every part can be found again. Parts
	// inside an encoded message (base64 message/rfc822) have Offset -1.
	Offset, BodyOffset, RawSize int64

	// Size is the number of decoded bytes of a leaf.
	Size int64

	// Defects tells what was wrong with this part.
	Defects []Defect
}

// IsMultipart reports whether the part's type is multipart/*.
func (p *Part) IsMultipart() bool { return len(p.Type) > 10 && p.Type[:10] == "multipart/" }

// IsMessage reports whether the part holds a whole message that Parse descends
// into: message/rfc822 and message/global (RFC 6532).
func (p *Part) IsMessage() bool { return p.Type == "message/rfc822" || p.Type == "message/global" }

// All yields the part and everything below it, parents first, in the order of
// the message.
func (p *Part) All() iter.Seq[*Part] {
	return func(yield func(*Part) bool) { p.walk(yield) }
}

func (p *Part) walk(yield func(*Part) bool) bool {
	if !yield(p) {
		return false
	}
	for _, c := range p.Children {
		if !c.walk(yield) {
			return false
		}
	}
	return true
}

// A Sink takes the content of a message while [Parse] reads it. Parse calls it
// from one goroutine, in the order of the message.
type Sink interface {
	// Begin is called once a part's header is known; everything in p but
	// Children, Size, RawSize and later Defects is set. The writer it returns
	// gets the decoded body; nil discards it. A container (multipart or
	// message) for which Begin returns nil is descended into; one for which it
	// returns a writer is written there whole, transfer decoding undone, and
	// not descended into.
	Begin(p *Part) (io.Writer, error)
	// End is called when the part is complete, after its children.
	End(p *Part) error
}
