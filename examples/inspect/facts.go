package main

import (
	"io"
	"strings"

	"github.com/maildriver/maildriver/dsn"
	"github.com/maildriver/maildriver/mime"
)

type person struct {
	Name string `json:"name"`
	Addr string `json:"addr"`
}

type facts struct {
	Subject     *string           `json:"subject,omitempty"`
	MessageID   string            `json:"message_id,omitempty"`
	From        []person          `json:"from,omitempty"`
	To          []person          `json:"to,omitempty"`
	Cc          []person          `json:"cc,omitempty"`
	Date        *int64            `json:"date,omitempty"`
	Structure   string            `json:"structure"`
	Leaves      []*leaf           `json:"leaves"`
	Attachments []int             `json:"attachments"`
	DSN         *statusFacts      `json:"dsn,omitempty"`
	ARF         map[string]string `json:"arf,omitempty"`
	MDN         map[string]string `json:"mdn,omitempty"`
	Bounces     []bounce          `json:"bounces,omitempty"`
	Defects     []string          `json:"defects,omitempty"`
}

type leaf struct {
	Type        string `json:"type"`
	Charset     string `json:"charset,omitempty"`
	Filename    string `json:"filename,omitempty"`
	Disposition string `json:"disposition,omitempty"`
	CTE         string `json:"cte,omitempty"`
	CID         string `json:"cid,omitempty"`
	Size        int64  `json:"size"`
	SHA256      string `json:"sha256"`
	SHA256LF    string `json:"sha256_lf"`
	TextSHA256  string `json:"text_sha256,omitempty"`
}

// inspect parses a message and gathers its facts. It gives facts whenever
// there is a tree, that is always.
func inspect(r io.Reader) (*facts, error) {
	c := collector{digests: map[*mime.Part]*digest{}}
	root, err := mime.Parse(r, &c)
	h := root.Header
	f := &facts{
		From: people(first(h, "From")), To: people(h.Addresses("To")), Cc: people(h.Addresses("Cc")),
		Structure: structure(root), Leaves: []*leaf{}, Attachments: []int{},
	}
	if h.Has("Subject") {
		s := strings.Join(strings.Fields(h.Text("Subject")), " ")
		f.Subject = &s
	}
	if ids := h.MessageIDs("Message-ID"); len(ids) > 0 {
		f.MessageID = ids[0]
	}
	if t, ok := h.Date("Date"); ok {
		unix := t.Unix()
		f.Date = &unix
	}
	for p := range root.All() {
		for _, d := range p.Defects {
			f.Defects = append(f.Defects, d.String())
		}
		if d := c.digests[p]; d != nil {
			if p.Name != "" || p.Disposition == "attachment" {
				f.Attachments = append(f.Attachments, len(f.Leaves))
			}
			f.Leaves = append(f.Leaves, d.leaf(p))
		}
	}
	f.ARF = fieldsOf(c.kept["message/feedback-report"])
	f.MDN = fieldsOf(c.kept["message/disposition-notification"])
	if s := dsn.StatusPart(root); s != nil {
		f.status(dsn.Parse(c.digests[s].kept.Bytes()))
	}
	f.outcomes(c.report.Result(root))
	return f, err
}

// first gives the addresses of the first field of that name: a message has one
// From (RFC 5322 3.6), a second one is somebody's trick.
func first(h mime.Header, name string) []mime.Address {
	list, _ := mime.ParseAddressList(h.Get(name))
	return h.Addresses(name)[:len(list)]
}

func people(list []mime.Address) []person {
	var out []person
	for _, a := range list {
		out = append(out, person{a.Name, a.Addr})
	}
	return out
}

// structure writes the tree as "multipart/mixed(text/plain,image/png)".
func structure(p *mime.Part) string {
	if len(p.Children) == 0 {
		return p.Type
	}
	members := make([]string, len(p.Children))
	for i, c := range p.Children {
		members[i] = structure(c)
	}
	return p.Type + "(" + strings.Join(members, ",") + ")"
}

// fieldsOf gives the fields of a report part, names in lower case.
func fieldsOf(body []byte) map[string]string {
	if body == nil {
		return nil
	}
	m := map[string]string{}
	for f := range mime.ParseHeader(body).Fields() {
		if name := strings.ToLower(f.Name); m[name] == "" {
			m[name] = strings.Join(strings.Fields(mime.DecodeText(f.Value)), " ")
		}
	}
	return m
}
