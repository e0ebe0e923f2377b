package oracle

import (
	"bytes"
	"io"
	"strings"

	"github.com/maildriver/maildriver/mime"
)

// keeper is a sink that keeps the content of every leaf.
type keeper struct {
	bodies map[*mime.Part]*bytes.Buffer
	text   map[*mime.Part]*mime.TextDecoder
}

func (k *keeper) Begin(p *mime.Part) (io.Writer, error) {
	if p.IsContainer() {
		return nil, nil
	}
	b := &bytes.Buffer{}
	k.bodies[p] = b
	if isText(p.Type) {
		k.text[p] = mime.NewTextDecoder(b, p.Charset)
		return k.text[p], nil
	}
	return b, nil
}

func (k *keeper) End(p *mime.Part) error {
	if d := k.text[p]; d != nil {
		return d.Close()
	}
	return nil
}

// ourFacts are those of package mime, with the defects that it saw.
func ourFacts(raw []byte) (facts, []string, error) {
	k := &keeper{map[*mime.Part]*bytes.Buffer{}, map[*mime.Part]*mime.TextDecoder{}}
	root, err := mime.Parse(bytes.NewReader(raw), k)
	if err != nil {
		return facts{}, nil, err
	}
	h := root.Header
	f := facts{
		Subject: squeeze(h.Text("Subject")), From: people(h.Addresses("From")), To: people(h.Addresses("To")), Cc: people(h.Addresses("Cc")),
		Structure: structure(root), Leaves: []leaf{},
	}
	if ids := h.MessageIDs("Message-ID"); len(ids) > 0 {
		f.MessageID = ids[0]
	}
	if t, ok := h.Date("Date"); ok {
		f.Date = t.Unix()
	}
	var defects []string
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
	return f, defects, nil
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
