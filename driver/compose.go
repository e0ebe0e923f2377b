package driver

import (
	"errors"
	"strings"

	"github.com/maildriver/maildriver/mime"
)

// A Composer is a driver that makes messages of drafts with its own settings:
// its address, charset, and what else its parameters say about the form of
// outbound mail.
type Composer interface {
	// Compose is as [NewMessage], with the driver's settings for what the draft
	// leaves open. opts hold for this call alone.
	Compose(d *mime.Draft, opts ...Option) (*Message, error)
}

// Compose makes a message of d with the settings of s if it is a [Composer], as
// the drivers of this module and pairs of them are, else with the defaults of
// [NewMessage]; then no options are taken.
func Compose(s Sender, d *mime.Draft, opts ...Option) (*Message, error) {
	if c, ok := s.(Composer); ok {
		return c.Compose(d, opts...)
	}
	if err := Apply(opts); err != nil {
		return nil, err
	}
	return NewMessage(d)
}

// Compose lets the sending half compose.
func (p *pair) Compose(d *mime.Draft, opts ...Option) (*Message, error) {
	return Compose(p.out, d, opts...)
}

// Composing holds what a driver adds to a draft. A package that sends passes a
// *Composing to [Apply]. The zero value adds nothing; a copy is independent of
// the original.
type Composing struct {
	// Charset is for drafts that name none; "" is UTF-8.
	Charset string
	// MaxLineLength is for drafts that set none, in bytes; 0 is 998.
	MaxLineLength int
	// TextFromHTML makes a plain text for drafts that have HTML alone.
	TextFromHTML bool
	// UTF8Headers writes the header in UTF-8 (RFC 6532).
	UTF8Headers bool
	// ReplyTo is for drafts that have none.
	ReplyTo []mime.Address
}

func composingOption(name string, set func(*Composing) error) Option {
	return NewOption("driver."+name, set)
}

// WithCharset sets the charset of the text, and of what the header needs
// encoded, in drafts that name none (parameter "Charset"): an IANA name; "",
// the default, is UTF-8. A text with a character that the charset lacks is
// written in UTF-8 all the same.
func WithCharset(name string) Option {
	return composingOption("Charset", func(c *Composing) error {
		if err := checkDraft(mime.Draft{Charset: name}); err != nil {
			return err
		}
		c.Charset = name
		return nil
	})
}

// WithTextLineLength sets how long a line of a body may be, in bytes, in drafts
// that do not say (parameter "Max Line Length"): bodies with longer ones are
// encoded. From 76 to 998; 0, the default, is 998 (RFC 5322 section 2.1.1).
func WithTextLineLength(n int) Option {
	return composingOption("TextLineLength", func(c *Composing) error {
		if err := checkDraft(mime.Draft{MaxLineLength: n}); err != nil {
			return err
		}
		c.MaxLineLength = n
		return nil
	})
}

// WithTextFromHTML makes a plain text of HTML for drafts that have no other, so
// that they go out as multipart/alternative (parameter "Create Plain Text From
// HTML"). The default is not to, which is faster.
func WithTextFromHTML(on bool) Option {
	return composingOption("TextFromHTML", func(c *Composing) error { c.TextFromHTML = on; return nil })
}

// WithUTF8Headers writes headers as UTF-8 (RFC 6532) instead of encoded words,
// and takes addresses that have such characters. A message that makes use of it
// goes only to servers with SMTPUTF8 (RFC 6531). The default is not to.
func WithUTF8Headers(on bool) Option {
	return composingOption("UTF8Headers", func(c *Composing) error { c.UTF8Headers = on; return nil })
}

// WithReplyTo sets where answers should go, in drafts that do not say: one
// address or several, separated by ';' or ','. "", the default, is none.
func WithReplyTo(list string) Option {
	return composingOption("ReplyTo", func(c *Composing) error {
		var to []mime.Address
		if list != "" {
			var err error
			if to, err = mime.ParseAddressList(withCommas(list)); err != nil {
				return err
			}
			if len(to) == 0 {
				return errors.New("there is no address")
			}
			if err := checkDraft(mime.Draft{ReplyTo: to, UTF8Headers: true}); err != nil {
				return err
			}
		}
		c.ReplyTo = to
		return nil
	})
}

// withCommas makes the semicolons between addresses commas, as mail has them.
func withCommas(list string) string {
	quoted, escaped, comment := false, false, 0
	return strings.Map(func(r rune) rune {
		switch {
		case escaped:
			escaped = false
		case r == '\\' && (quoted || comment > 0):
			escaped = true
		case r == '"' && comment == 0:
			quoted = !quoted
		case quoted:
		case r == '(':
			comment++
		case r == ')' && comment > 0:
			comment--
		case r == ';' && comment == 0:
			return ','
		}
		return r
	}, list)
}

// checkDraft tells what is wrong with the fields that are set, by the rules for
// drafts.
func checkDraft(d mime.Draft) error {
	d.From = mime.Address{Addr: "a@example.com"}
	d.To = []mime.Address{d.From}
	_, err := d.Compose()
	if de, ok := errors.AsType[*mime.DraftError](err); ok {
		return errors.New(de.Reason)
	}
	return err
}

// Compose is as [NewMessage], for a copy of d with the settings where it leaves
// something open; from is the driver's own address.
func (c *Composing) Compose(d *mime.Draft, from mime.Address) (*Message, error) {
	full := *d
	if full.From == (mime.Address{}) {
		full.From = from
	}
	if full.Charset == "" {
		full.Charset = c.Charset
	}
	if full.MaxLineLength == 0 {
		full.MaxLineLength = c.MaxLineLength
	}
	if len(full.ReplyTo) == 0 {
		full.ReplyTo = c.ReplyTo
	}
	full.TextFromHTML = full.TextFromHTML || c.TextFromHTML
	full.UTF8Headers = full.UTF8Headers || c.UTF8Headers
	return NewMessage(&full)
}

// ComposingRows are the rows of every driver that sends.
func ComposingRows() []Param {
	return []Param{
		{Name: "Charset", Type: ParamText, Default: "UTF-8", Text: "Charset of outbound text. A text with a character that it lacks goes in UTF-8, as answers do unless the host chooses another."},
		{Name: "Max Line Length", Type: ParamInt, Default: "998", Ours: true, Min: 76, Max: 998, Text: "Bytes of the longest line of a composed text; one with a longer line goes in quoted-printable or base64, whose lines have 76."},
		{Name: "Create Plain Text From HTML", Type: ParamBool, Default: "FALSE", Text: "TRUE makes a plain text of HTML where there is no other, and sends both as multipart/alternative."},
		{Name: "Internationalized Headers", Type: ParamBool, Default: "TRUE", Ours: true, Text: "TRUE writes names and subjects beyond ASCII as encoded words, which every server takes; addresses stay ASCII. FALSE writes UTF-8, addresses included, which goes only to servers with SMTPUTF8."},
		{Name: "Reply-To Address List", Aliases: []string{"Reply-To Address"}, Type: ParamText, Ours: true, Text: "Where answers should go, addresses separated by ';', in mails that name no address for them."},
	}
}

// ComposingOptions turns ComposingRows into options.
func ComposingOptions(v Values) []Option {
	opts := []Option{
		WithTextFromHTML(v.Bool("Create Plain Text From HTML", false)),
		WithUTF8Headers(!v.Bool("Internationalized Headers", true)),
	}
	if v.Has("Charset") {
		opts = append(opts, WithCharset(v.Text("Charset")).ForParameter("Charset"))
	}
	if v.Has("Reply-To Address List") {
		opts = append(opts, WithReplyTo(v.Text("Reply-To Address List")).ForParameter("Reply-To Address List"))
	}
	if v.Has("Max Line Length") {
		opts = append(opts, WithTextLineLength(int(v.Int("Max Line Length", 0))))
	}
	return opts
}
