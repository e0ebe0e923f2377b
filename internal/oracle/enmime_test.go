package oracle

import (
	"bytes"
	"net/mail"
	"strings"
	"time"

	"github.com/jhillyerd/enmime/v2"
)

var enmimeParser = enmime.NewParser(enmime.DisableCharacterDetection(true), enmime.SetReadPartErrorPolicy(enmime.AllowCorruptTextPartErrorPolicy))

// enmimeFacts are those of enmime, with the errors that it saw.
func enmimeFacts(raw []byte) (facts, []string, error) {
	root, err := enmimeParser.ReadParts(bytes.NewReader(raw))
	if err != nil {
		return facts{}, nil, err
	}
	env, err := enmimeParser.EnvelopeFromPart(root)
	if err != nil {
		return facts{}, nil, err
	}
	f := facts{Subject: squeeze(env.GetHeader("Subject")), MessageID: strings.Trim(env.GetHeader("Message-ID"), "<>"), Leaves: []leaf{}}
	for name, to := range map[string]*[]person{"From": &f.From, "To": &f.To, "Cc": &f.Cc} {
		*to = []person{}
		list, err := env.AddressList(name)
		if err != nil && env.GetHeader(name) != "" {
			return f, nil, err
		}
		for _, a := range list {
			*to = append(*to, person{squeeze(a.Name), a.Address})
		}
	}
	if t, err := mail.ParseDate(env.GetHeader("Date")); err == nil {
		f.Date = t.In(time.UTC).Unix()
	}
	var seen []string
	for _, e := range env.Errors {
		if e.Name != enmime.ErrorPlainTextFromHTML { // no fault
			seen = append(seen, e.Error())
		}
	}
	f.Structure, err = f.enmimePart(root)
	return f, seen, err
}

func (f *facts) enmimePart(p *enmime.Part) (string, error) {
	typ := strings.ToLower(p.ContentType)
	if typ == "message/rfc822" { // enmime leaves these to its caller
		inner, err := enmimeParser.ReadParts(bytes.NewReader(p.Content))
		if err != nil {
			return "", err
		}
		s, err := f.enmimePart(inner)
		return typ + "(" + s + ")", err
	}
	if p.FirstChild == nil {
		f.Leaves = append(f.Leaves, leaf{typ, squeeze(p.FileName), p.Disposition, p.ContentID, digest(string(p.Content), isText(typ))})
		return typ, nil
	}
	var kids []string
	for c := p.FirstChild; c != nil; c = c.NextSibling {
		s, err := f.enmimePart(c)
		if err != nil {
			return "", err
		}
		kids = append(kids, s)
	}
	return typ + "(" + strings.Join(kids, ",") + ")", nil
}
