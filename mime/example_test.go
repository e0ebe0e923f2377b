package mime_test

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/maildriver/maildriver/mime"
)

// printSink prints every leaf; containers are descended into.
type printSink struct{ text *mime.TextDecoder }

func (s *printSink) Begin(p *mime.Part) (io.Writer, error) {
	if p.IsContainer() {
		return nil, nil
	}
	fmt.Printf("part %s: %s %q\n", p.Path, p.Type, mime.SafeName(p.Name))
	s.text = mime.NewTextDecoder(os.Stdout, p.Charset)
	return s.text, nil
}

func (s *printSink) End(p *mime.Part) error {
	if len(p.Children) > 0 {
		return nil
	}
	return s.text.Close()
}

func ExampleParse() {
	msg := `From: =?iso-8859-1?q?J=F6rg?= <joerg@example.com>
Subject: Hello
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Gr=FC=DFe

--b
Content-Disposition: attachment; filename*=utf-8''na%C3%AFve.txt
Content-Transfer-Encoding: base64

ZGF0YQo=
--b--
`
	root, err := mime.Parse(strings.NewReader(msg), &printSink{})
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(root.Header.Addresses("From")[0].Name, "-", root.Header.Text("Subject"))
	// Output:
	// part 1: text/plain "unnamed"
	// Grüße
	// part 2: text/plain "naïve.txt"
	// data
	// Jörg - Hello
}

func ExampleDraft_Compose() {
	d := mime.Draft{
		From:    mime.Address{Name: "Ann", Addr: "ann@example.com"},
		To:      []mime.Address{{Name: "Jörg", Addr: "joerg@example.com"}},
		Subject: mime.ReplySubject("Grüße"),
		Text:    mime.QuoteText("Hello Ann") + "\nHello yourself.",
	}
	c, err := d.Compose()
	if err != nil {
		fmt.Println(err)
		return
	}
	var b strings.Builder
	if _, err := c.WriteTo(&b); err != nil {
		fmt.Println(err)
	}
	for line := range strings.Lines(b.String()) {
		if !strings.HasPrefix(line, "Date:") && !strings.HasPrefix(line, "Message-ID:") {
			fmt.Print(strings.TrimSuffix(line, "\r\n") + "\n")
		}
	}
	fmt.Println("envelope:", c.From, c.Recipients)
	// Output:
	// From: Ann <ann@example.com>
	// To: =?utf-8?b?SsO2cmc=?= <joerg@example.com>
	// Subject: Re: =?utf-8?b?R3LDvMOfZQ==?=
	// MIME-Version: 1.0
	// Content-Type: text/plain; charset=us-ascii
	// Content-Transfer-Encoding: 7bit
	//
	// > Hello Ann
	//
	// Hello yourself.
	// envelope: ann@example.com [joerg@example.com]
}
