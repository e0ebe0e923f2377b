package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"strings"

	"github.com/maildriver/maildriver/dsn"
	"github.com/maildriver/maildriver/mime"
)

// maxKept bounds what is kept of a report part.
const maxKept = 1 << 20

// A collector is the sink: it keeps no content but digests, and the text of
// report parts.
type collector struct {
	digests map[*mime.Part]*digest
	kept    map[string][]byte // first body of each message/* leaf
	report  dsn.Collector
}

func (c *collector) Begin(p *mime.Part) (io.Writer, error) {
	if p.IsMultipart() || p.IsMessage() {
		return c.report.Tap(p, nil), nil // descend
	}
	d := &digest{raw: sha256.New(), lf: newLFHash(), keep: strings.HasPrefix(p.Type, "message/")}
	if strings.HasPrefix(p.Type, "text/") || strings.HasPrefix(p.Type, "message/") {
		d.text = newLFHash()
		d.decoder = mime.NewTextDecoder(d.text, p.Charset)
	}
	c.digests[p] = d
	return c.report.Tap(p, d), nil
}

func (c *collector) End(p *mime.Part) error {
	d := c.digests[p]
	if d == nil {
		return nil
	}
	if d.keep {
		if c.kept == nil {
			c.kept = map[string][]byte{}
		}
		if c.kept[p.Type] == nil {
			c.kept[p.Type] = d.kept.Bytes()
		}
	}
	if d.decoder != nil {
		return d.decoder.Close()
	}
	return nil
}

// A digest hashes one leaf in the ways the facts ask for.
type digest struct {
	raw     hash.Hash
	lf      *lfHash
	text    *lfHash
	decoder *mime.TextDecoder
	keep    bool
	kept    bytes.Buffer
}

func (d *digest) Write(p []byte) (int, error) {
	d.raw.Write(p)
	_, _ = d.lf.Write(p)
	if d.keep && d.kept.Len() < maxKept {
		d.kept.Write(p[:min(len(p), maxKept-d.kept.Len())])
	}
	if d.decoder != nil {
		return d.decoder.Write(p)
	}
	return len(p), nil
}

func (d *digest) leaf(p *mime.Part) *leaf {
	l := &leaf{
		Type: p.Type, Charset: p.Charset, Filename: p.Name, Disposition: p.Disposition, CTE: p.Encoding, CID: p.ContentID,
		Size: p.Size, SHA256: hex.EncodeToString(d.raw.Sum(nil)), SHA256LF: d.lf.sum(),
	}
	if d.text != nil {
		l.TextSHA256 = d.text.sum()
	}
	return l
}

// An lfHash hashes text with every line end made LF and those at the end left
// out.
type lfHash struct {
	h    hash.Hash
	cr   bool
	ends int // line ends not hashed yet
}

func newLFHash() *lfHash { return &lfHash{h: sha256.New()} }

func (l *lfHash) Write(p []byte) (int, error) {
	start := 0
	for i, c := range p {
		if c != '\r' && c != '\n' {
			if l.ends > 0 {
				l.h.Write(bytes.Repeat([]byte{'\n'}, l.ends))
				l.ends, start = 0, i
			}
			l.cr = false
			continue
		}
		if l.ends == 0 {
			l.h.Write(p[start:i])
		}
		if c == '\r' || !l.cr {
			l.ends++
		}
		l.cr = c == '\r'
		start = i + 1
	}
	if l.ends == 0 {
		l.h.Write(p[start:])
	}
	return len(p), nil
}

func (l *lfHash) sum() string { return hex.EncodeToString(l.h.Sum(nil)) }
