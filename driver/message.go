package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/maildriver/maildriver/mime"
)

// A Message is what a [Sender] sends: an envelope and the finished bytes. The
// driver reads it and never changes it; several goroutines may send one
// Message at the same time if its Open permits.
type Message struct {
	// From is the reverse path, an addr-spec; "" is the null path <> that
	// bounces and automatic replies use (RFC 5321 4.5.5).
	From string
	// To are the recipients. One at least is needed.
	To []Recipient
	// Open gives the bytes from the start, each time anew: header and body,
	// any line ends. The driver closes what it opened.
	Open func() (io.ReadCloser, error)
	// MessageID, without angle brackets, names the message in receipts and
	// logs; "" if unknown.
	MessageID string
	// EnvelopeID is given back in delivery status notifications as
	// DsnOriginalEnvelopeId (RFC 3461 4.4); "" asks for none.
	EnvelopeID string
	// Return asks for the whole message ("FULL") or its header ("HDRS") in
	// notifications (RFC 3461 4.3); "" leaves it to the server.
	Return string

	// Binary says that Open gives binary MIME (RFC 3030): the octets arrive as
	// they are, bare CR and LF included. Where the server takes no binary
	// content the parts that need it are sent in base64. False, the usual,
	// makes every line end CRLF.
	Binary bool
	// SMTPUTF8 says that the header is in UTF-8 (RFC 6532), so that only servers
	// with the extension SMTPUTF8 take it (RFC 6531). What the addresses need is
	// found out in any case. [NewMessage] sets it where the draft came to that.
	SMTPUTF8 bool
	// RequireTLS asks every server on the way to hand the message on over
	// verified TLS or not at all (RFC 8689).
	RequireTLS bool
	// DeliverBy sets a time limit for delivery (RFC 2852); nil sets none.
	DeliverBy *DeliverBy
	// Priority is the priority for transfer, -9 to 9 (RFC 6710); 0 is normal
	// and asks for nothing.
	Priority int
}

// A DeliverBy is a time limit for the delivery of a [Message].
type DeliverBy struct {
	// Within is counted from the start of the transmission, in whole seconds,
	// up to 999999999. With Return it must be positive.
	Within time.Duration
	// Return has the message sent back once the time is over; else it goes on
	// and the sender is notified of the delay.
	Return bool
	// Trace asks for a notice from each server that hands the message to one
	// without the extension.
	Trace bool
}

// A Recipient is one forward path of a [Message].
type Recipient struct {
	// Address is an addr-spec.
	Address string
	// Notify lists when to send a notification (RFC 3461 4.1): "NEVER", or any
	// of "SUCCESS", "FAILURE", "DELAY"; nil leaves it to the server.
	Notify []string
	// Original is the address first given (ORCPT), e.g. "rfc822;a@example.com".
	Original string
}

// NewMessage composes d for sending; [Compose] does it with the settings of a
// driver. An automatic reply (AutoSubmitted
// "auto-replied") gets the null reverse path, so that nothing ever answers it
// (RFC 3834 section 3.3); set From for a server that refuses that.
func NewMessage(d *mime.Draft) (*Message, error) {
	c, err := d.Compose()
	if err != nil {
		return nil, &Error{Op: "compose", Kind: KindPermanent, Err: err}
	}
	m := &Message{From: c.From, MessageID: c.MessageID, SMTPUTF8: c.SMTPUTF8, Open: func() (io.ReadCloser, error) { return pipeFrom(c) }}
	if kind, _, _ := strings.Cut(d.AutoSubmitted, ";"); strings.EqualFold(strings.TrimSpace(kind), "auto-replied") {
		m.From = ""
	}
	for _, a := range c.Recipients {
		m.To = append(m.To, Recipient{Address: a})
	}
	return m, nil
}

// pipeFrom turns WriteTo into a reader. Closing the reader ends the writer's
// goroutine, which has ended when Close returns.
func pipeFrom(w io.WriterTo) (io.ReadCloser, error) {
	r, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := w.WriteTo(pw)
		pw.CloseWithError(err)
	}()
	return &pipeReader{r, done}, nil
}

type pipeReader struct {
	*io.PipeReader
	done chan struct{}
}

func (p *pipeReader) Close() error {
	err := p.PipeReader.Close()
	<-p.done
	return err
}

// Delivery is the outcome of a send, for a message or one recipient.
type Delivery uint8

// The five outcomes.
const (
	// DeliveryUnknown: the end of the message was sent and no reply came. The
	// mail may have been accepted, so repeating it may double it.
	DeliveryUnknown Delivery = iota
	// DeliveryAccepted: the server took responsibility for every recipient.
	DeliveryAccepted
	// DeliveryRejected: refused for good.
	DeliveryRejected
	// DeliveryDeferred: not accepted now, a later try may succeed.
	DeliveryDeferred
	// DeliveryPartly: some recipients were accepted, see each.
	DeliveryPartly
)

var deliveryNames = [...]string{"unknown", "accepted", "rejected", "deferred", "partly"}

func (d Delivery) String() string {
	if int(d) < len(deliveryNames) {
		return deliveryNames[d]
	}
	return fmt.Sprintf("delivery(%d)", uint8(d))
}

// A Receipt tells what became of a send.
type Receipt struct {
	Delivery Delivery
	// Server is the host:port that decided, "" if none was reached.
	Server string
	// Code, Enhanced and Text are the deciding reply: an SMTP code or 0, an
	// enhanced status code (RFC 3463) or "", and the text, unescaped.
	Code     int
	Enhanced string
	Text     string
	// Recipients has an entry for each recipient, in the order of the message.
	Recipients []RecipientReceipt
	// SavedFile is the copy kept in the sent directory, "" if none is.
	SavedFile string
	// BodyFile is the file SiebelLongEmailBody.htm or .txt with the long body
	// of the message, for the host's records; "" if none was made.
	BodyFile string
}

// A RecipientReceipt tells what became of one recipient.
type RecipientReceipt struct {
	Address  string
	Delivery Delivery
	Code     int
	Enhanced string
	Text     string
}

// A DeliveryError gives the outcome of a send that was not accepted for every
// recipient. Send returns it, usually inside an [*Error].
type DeliveryError struct {
	Delivery Delivery
	Err      error
}

func (e *DeliveryError) Error() string {
	if e.Err == nil {
		return e.Delivery.String()
	}
	return e.Delivery.String() + ": " + e.Err.Error()
}

func (e *DeliveryError) Unwrap() error { return e.Err }

// DeliveryOf classifies the error of a Send. nil is accepted. An error that
// does not say was met before anything could be accepted: it is deferred where
// a later try may succeed, else rejected.
func DeliveryOf(err error) Delivery {
	if err == nil {
		return DeliveryAccepted
	}
	if de, ok := errors.AsType[*DeliveryError](err); ok {
		return de.Delivery
	}
	switch k := KindOf(err); {
	case k == KindAmbiguous:
		return DeliveryUnknown
	case k.Retryable(), k == KindClosed, errors.Is(err, context.Canceled):
		return DeliveryDeferred
	}
	return DeliveryRejected
}

// PollResult counts what happened in one session.
type PollResult struct {
	Listed      int // mails the server listed
	Delivered   int // handled: the handler returned nil or Stop
	Redelivered int // of these, marked as offered before
	Refused     int // not done: they come again, see Failures for why
	Failed      int // moved to the failed directory
	Diverted    int // moved to the loopback directory
	Known       int // delivered in an earlier session; only removed now, or left
	Waiting     int // refused earlier and not due yet
	Gone        int // vanished between listing and fetching
	Removed     int // removed from the server, confirmed by it

	// More tells that the session ended before the mailbox did.
	More bool
	// Stopped tells that the handler returned Stop.
	Stopped bool
	// RetryAt is when the earliest waiting mail is due; zero if none waits.
	RetryAt time.Time
	// Failures tells of single mails that were refused or failed.
	Failures []MailError
}

// A MailError is the failure of one mail.
type MailError struct {
	EventID string
	ID      ID
	File    string // the file in the failed directory, "" if the mail comes again
	Err     error
}

func (e MailError) Error() string { return fmt.Sprintf("mail %s: %v", e.EventID, e.Err) }
func (e MailError) Unwrap() error { return e.Err }
