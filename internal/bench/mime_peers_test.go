package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	stdmime "mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // this program alone: it sets a global hook
	gomail "github.com/emersion/go-message/mail"
	"github.com/jhillyerd/enmime/v2"
	"golang.org/x/text/encoding/htmlindex"

	"github.com/maildriver/maildriver/mime"
)

// A peer decodes a whole message: the usual fields of the header, every body,
// text in UTF-8. It gives the number of leaves and of bytes that came out.
type peer struct {
	name string
	read func(r io.Reader) (leaves int, n int64, err error)
}

var peers = []peer{
	{"maildriver", readOurs}, {"go-message", readGoMessage}, {"net-mail", readNetMail}, {"enmime", readEnmime},
}

type countSink struct {
	leaves int
	n      int64
	text   *mime.TextDecoder
}

func (s *countSink) Write(p []byte) (int, error) {
	s.n += int64(len(p))
	return len(p), nil
}

func (s *countSink) Begin(p *mime.Part) (io.Writer, error) {
	if p.IsContainer() {
		return nil, nil
	}
	s.leaves++
	s.text = nil
	if strings.HasPrefix(p.Type, "text/") {
		s.text = mime.NewTextDecoder(s, p.Charset)
		return s.text, nil
	}
	return s, nil
}

func (s *countSink) End(p *mime.Part) error {
	if p.IsContainer() || s.text == nil {
		return nil
	}
	return s.text.Close()
}

func readOurs(r io.Reader) (int, int64, error) {
	var s countSink
	p, err := mime.Parse(r, &s)
	if err != nil {
		return 0, 0, err
	}
	h := p.Header
	if _, ok := h.Date("Date"); !ok || h.Text("Subject") == "" || len(h.Addresses("From"))+len(h.Addresses("To"))+len(h.Addresses("Cc")) == 0 || len(h.MessageIDs("Message-ID")) == 0 {
		return 0, 0, errors.New("no header")
	}
	return s.leaves, s.n, nil
}

func readGoMessage(r io.Reader) (leaves int, n int64, err error) {
	e, err := message.Read(r)
	if err != nil {
		return 0, 0, err
	}
	h := gomail.Header{Header: e.Header}
	if _, err := h.Subject(); err != nil {
		return 0, 0, err
	}
	for _, f := range []string{"From", "To", "Cc"} {
		if _, err := h.AddressList(f); err != nil {
			return 0, 0, err
		}
	}
	if _, err := h.Date(); err != nil {
		return 0, 0, err
	}
	if _, err := h.MessageID(); err != nil {
		return 0, 0, err
	}
	err = goMessageEntity(e, &leaves, &n)
	return leaves, n, err
}

func goMessageEntity(e *message.Entity, leaves *int, n *int64) error {
	typ, _, _ := e.Header.ContentType()
	if mr := e.MultipartReader(); mr != nil {
		for {
			p, err := mr.NextPart()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := goMessageEntity(p, leaves, n); err != nil {
				return err
			}
		}
	}
	if typ == "message/rfc822" {
		inner, err := message.Read(e.Body)
		if err != nil {
			return err
		}
		return goMessageEntity(inner, leaves, n)
	}
	_, _, _ = e.Header.ContentDisposition()
	*leaves++
	k, err := io.Copy(io.Discard, e.Body)
	*n += k
	return err
}

var words = stdmime.WordDecoder{CharsetReader: charsetReader}

func charsetReader(charset string, r io.Reader) (io.Reader, error) {
	enc, err := htmlindex.Get(charset)
	if err != nil {
		return nil, err
	}
	return enc.NewDecoder().Reader(r), nil
}

func readNetMail(r io.Reader) (leaves int, n int64, err error) {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return 0, 0, err
	}
	if _, err := words.DecodeHeader(m.Header.Get("Subject")); err != nil {
		return 0, 0, err
	}
	for _, f := range []string{"From", "To", "Cc"} {
		p := mail.AddressParser{WordDecoder: &words}
		if _, err := p.ParseList(m.Header.Get(f)); err != nil {
			return 0, 0, err
		}
	}
	if _, err := m.Header.Date(); err != nil {
		return 0, 0, err
	}
	err = netMailPart(m.Header.Get, m.Body, &leaves, &n)
	return leaves, n, err
}

func netMailPart(get func(string) string, body io.Reader, leaves *int, n *int64) error {
	typ, params, err := stdmime.ParseMediaType(get("Content-Type"))
	if err != nil {
		return err
	}
	switch strings.ToLower(get("Content-Transfer-Encoding")) {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	switch {
	case strings.HasPrefix(typ, "multipart/"):
		mr := multipart.NewReader(body, params["boundary"])
		for {
			p, err := mr.NextRawPart()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := netMailPart(p.Header.Get, p, leaves, n); err != nil {
				return err
			}
		}
	case typ == "message/rfc822":
		m, err := mail.ReadMessage(body)
		if err != nil {
			return err
		}
		return netMailPart(m.Header.Get, m.Body, leaves, n)
	case strings.HasPrefix(typ, "text/"):
		if cs := params["charset"]; cs != "" && cs != "utf-8" && cs != "us-ascii" {
			if body, err = charsetReader(cs, body); err != nil {
				return err
			}
		}
	}
	if d := get("Content-Disposition"); d != "" {
		_, _, _ = stdmime.ParseMediaType(d)
	}
	*leaves++
	k, err := io.Copy(io.Discard, body)
	*n += k
	return err
}

var enmimeParser = enmime.NewParser(enmime.DisableCharacterDetection(true))

func readEnmime(r io.Reader) (leaves int, n int64, err error) {
	root, err := enmimeParser.ReadParts(r)
	if err != nil {
		return 0, 0, err
	}
	var walk func(p *enmime.Part) error
	walk = func(p *enmime.Part) error {
		if p.ContentType == "message/rfc822" { // enmime leaves these to its caller
			inner, err := enmimeParser.ReadParts(bytes.NewReader(p.Content))
			if err != nil {
				return err
			}
			return walk(inner)
		}
		if p.FirstChild == nil {
			leaves++
			n += int64(len(p.Content))
		}
		for c := p.FirstChild; c != nil; c = c.NextSibling {
			if err := walk(c); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(root); err != nil {
		return 0, 0, err
	}
	_ = root.Header.Get("Subject") // decoded already
	return leaves, n, nil
}
