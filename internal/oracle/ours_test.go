package oracle

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/maildriver/maildriver/mime"
)

// keeper is a sink that keeps the content of every leaf, and the flowed text of
// the first.
type keeper struct {
	bodies map[*mime.Part]*bytes.Buffer
	text   map[*mime.Part]io.Closer
	flowed *strings.Builder
}

func (k *keeper) Begin(p *mime.Part) (io.Writer, error) {
	if p.IsContainer() {
		return nil, nil
	}
	b := &bytes.Buffer{}
	k.bodies[p] = b
	if !isText(p.Type) {
		return b, nil
	}
	d := mime.NewTextDecoder(b, p.Charset)
	k.text[p] = d
	if flowed, delSp := p.IsFlowed(); flowed && k.flowed == nil {
		k.flowed = &strings.Builder{}
		joiner := mime.NewFlowedDecoder(k.flowed, delSp)
		again := mime.NewTextDecoder(joiner, p.Charset)
		k.text[p] = closers{d, again, joiner}
		return io.MultiWriter(d, again), nil
	}
	return d, nil
}

func (k *keeper) End(p *mime.Part) error {
	if d := k.text[p]; d != nil {
		return d.Close()
	}
	return nil
}

type closers []io.Closer

func (c closers) Close() error {
	var errs []error
	for _, x := range c {
		errs = append(errs, x.Close())
	}
	return errors.Join(errs...)
}

// ourFacts are those of package mime, with the defects that it saw, the tree and
// the text of the first flowed part with its lines joined.
func ourFacts(raw []byte) (f facts, defects []string, root *mime.Part, flowed string, err error) {
	k := &keeper{bodies: map[*mime.Part]*bytes.Buffer{}, text: map[*mime.Part]io.Closer{}}
	root, err = mime.Parse(bytes.NewReader(raw), k)
	if err != nil {
		return facts{}, nil, nil, "", err
	}
	if k.flowed != nil {
		flowed = k.flowed.String()
	}
	h := root.Header
	f = facts{
		Subject: squeeze(h.Text("Subject")), From: people(h.Addresses("From")), To: people(h.Addresses("To")), Cc: people(h.Addresses("Cc")),
		Structure: structure(root), Leaves: []leaf{},
	}
	if ids := h.MessageIDs("Message-ID"); len(ids) > 0 {
		f.MessageID = ids[0]
	}
	if t, ok := h.Date("Date"); ok {
		f.Date = t.Unix()
	}
	for p := range root.All() {
		for _, d := range p.Defects {
			if d.Code != mime.DefectUnsafeName { // the generator's wish
				defects = append(defects, d.String())
			}
		}
		if b := k.bodies[p]; b != nil {
			f.Leaves = append(f.Leaves, leaf{p.Type, squeeze(p.Name), p.Disposition, p.ContentID, digest(b.String(), isText(p.Type))})
		}
	}
	return f, defects, root, flowed, nil
}

func structure(p *mime.Part) string {
	if len(p.Children) == 0 {
		return p.Type
	}
	var kids []string
	for _, c := range p.Children {
		kids = append(kids, structure(c))
	}
	return p.Type + "(" + strings.Join(kids, ",") + ")"
}
