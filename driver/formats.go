package driver

import (
	"bufio"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/maildriver/maildriver/mime"
)

// MaxFormatBytes bounds what [ReadEmbedded] and [ReadOriginalText] read of a
// file: 64 MiB.
const MaxFormatBytes = 64 << 20

// ErrFormat is matched by the errors of [ReadEmbedded] and [ReadOriginalText]
// about a file that is not what it should be.
var ErrFormat = errors.New("not the documented format")

// An EmbeddedMessage is what an EmbeddedMsgX.xml file says: see
// docs/formats.md.
type EmbeddedMessage struct {
	// Header has the fields in their order, values decoded and on one line.
	Header []Field
	// Texts are the plain text parts.
	Texts []EmbeddedText
}

// An EmbeddedText is one plain text part of an [EmbeddedMessage].
type EmbeddedText struct {
	// Part is its path in the mail, see mime.Part.
	Part string `xml:"Part,attr"`
	// Charset is the charset that the part declared; Text is UTF-8 whatever it
	// says.
	Charset string `xml:"Charset,attr"`
	Text    string `xml:",chardata"`
}

// ReadEmbedded reads an EmbeddedMsgX.xml file.
func ReadEmbedded(r io.Reader) (*EmbeddedMessage, error) {
	var file struct {
		XMLName xml.Name `xml:"EmbeddedMessage"`
		Fields  []struct {
			Name  string `xml:"Name,attr"`
			Value string `xml:",chardata"`
		} `xml:"Header>Field"`
		Texts []EmbeddedText `xml:"Text"`
	}
	if err := xml.NewDecoder(&formatReader{r: r, left: MaxFormatBytes}).Decode(&file); err != nil {
		return nil, fmt.Errorf("reading an embedded message: %w: %w", ErrFormat, err)
	}
	m := &EmbeddedMessage{Texts: file.Texts}
	for _, f := range file.Fields {
		m.Header = append(m.Header, Field{f.Name, f.Value})
	}
	return m, nil
}

// ReadOriginalText reads an OriginalMessageText file: the fields of the header
// in their order, decoded and on one line each, and the text after it.
func ReadOriginalText(r io.Reader) (header []Field, text string, err error) {
	b := bufio.NewReader(&formatReader{r: r, left: MaxFormatBytes})
	for {
		line, err := b.ReadString('\n')
		if err != nil && (!errors.Is(err, io.EOF) || line != "") {
			return header, "", fmt.Errorf("reading an original text: %w: %w", ErrFormat, err)
		}
		if err != nil {
			return header, "", nil // a mail without text
		}
		if line = strings.TrimSuffix(line, "\n"); line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return header, "", fmt.Errorf("reading an original text: %w: a line without a field name", ErrFormat)
		}
		header = append(header, Field{name, strings.TrimPrefix(value, " ")})
	}
	rest, err := io.ReadAll(b)
	if err != nil {
		return header, "", fmt.Errorf("reading an original text: %w", err)
	}
	return header, string(rest), nil
}

// A formatReader refuses to read more than left.
type formatReader struct {
	r    io.Reader
	left int64
}

func (f *formatReader) Read(p []byte) (int, error) {
	if f.left <= 0 {
		return 0, &mime.LimitError{Limit: "MaxFormatBytes", Max: MaxFormatBytes}
	}
	n, err := f.r.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	return n, err
}
