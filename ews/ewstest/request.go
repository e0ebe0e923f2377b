package ewstest

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// A Request is what a client sent.
type Request struct {
	// Method, Host and Path are those of HTTP; Secure tells TLS.
	Method, Host, Path string
	Secure             bool
	Header             http.Header
	// Conn numbers the connections of the server.
	Conn int64
	At   time.Time
	// Operation is the name of the first element in soap:Body, "FindItem", ""
	// if there is none, and Body all of that element.
	Operation string
	Body      string
	// Level is RequestServerVersion, ActFor who is to be impersonated.
	Level, ActFor string

	root *element
	user string
}

// An element is a parsed element. Names are local.
type element struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Text    string     `xml:",chardata"`
	Kids    []*element `xml:",any"`
}

func (e *element) kid(path ...string) *element {
	for _, name := range path {
		if e == nil {
			return nil
		}
		var found *element
		for _, k := range e.Kids {
			if k.XMLName.Local == name {
				found = k
				break
			}
		}
		e = found
	}
	return e
}

func (e *element) all() []*element {
	if e == nil {
		return nil
	}
	return e.Kids
}

func (e *element) text() string {
	if e == nil {
		return ""
	}
	return strings.TrimSpace(e.Text)
}

func (e *element) attr(name string) string {
	if e == nil {
		return ""
	}
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// Attr gives an attribute of the operation.
func (r *Request) Attr(name string) string { return r.root.attr(name) }

// Values gives the texts of all elements of a local name in the operation.
func (r *Request) Values(name string) []string { return r.root.values(name, "") }

// Attrs gives an attribute of all elements of a local name in the operation.
func (r *Request) Attrs(name, attr string) []string { return r.root.values(name, attr) }

func (e *element) values(name, attr string) (list []string) {
	if e == nil {
		return nil
	}
	if e.XMLName.Local == name {
		if attr != "" {
			list = append(list, e.attr(attr))
		} else {
			list = append(list, e.text())
		}
	}
	for _, k := range e.Kids {
		list = append(list, k.values(name, attr)...)
	}
	return list
}

// note logs a request.
func (s *Server) note(r *http.Request, body []byte) *Request {
	conn, _ := r.Context().Value(connKey{}).(int64)
	req := &Request{
		Method: r.Method, Host: r.Host, Path: r.URL.RequestURI(), Secure: r.TLS != nil, Header: r.Header.Clone(), Conn: conn, At: time.Now(),
	}
	if r.URL.Path == ServicePath {
		req.parse(body)
		s.record(req)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, req)
	return req
}

func (r *Request) parse(body []byte) {
	var root element
	if xml.Unmarshal(body, &root) != nil {
		return
	}
	r.Level = root.kid("Header", "RequestServerVersion").attr("Version")
	for _, k := range root.kid("Header", "ExchangeImpersonation", "ConnectingSID").all() {
		r.ActFor = k.text()
	}
	if kids := root.kid("Body").all(); len(kids) > 0 {
		r.root = kids[0]
		r.Operation = kids[0].XMLName.Local
		r.Body = inside(body)
	}
}

// inside gives the first element in soap:Body as it was sent.
func inside(body []byte) string {
	d := xml.NewDecoder(bytes.NewReader(body))
	depth, start := 0, int64(-1)
	for {
		at := d.InputOffset()
		t, err := d.Token()
		if err != nil {
			return ""
		}
		switch t := t.(type) {
		case xml.StartElement:
			depth++
			if depth == 2 && t.Name.Local == "Body" {
				start = 0
			}
			if depth == 3 && start == 0 {
				start = at
			}
		case xml.EndElement:
			depth--
			if depth == 2 && start > 0 {
				return string(body[start:d.InputOffset()])
			}
		}
	}
}

// Requests gives the requests so far, of the service and others.
func (s *Server) Requests() []*Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Request(nil), s.log...)
}

// Operations gives the requests of one operation.
func (s *Server) Operations(name string) (list []*Request) {
	for _, r := range s.Requests() {
		if r.Operation == name {
			list = append(list, r)
		}
	}
	return list
}

// ForgetRequests empties the log.
func (s *Server) ForgetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
}

// RecordEnv names the environment variable with the directory where every
// server puts the operations that it is sent, a file each, to be held against
// the schema.
const RecordEnv = "MAILDRIVER_EWS_REQUESTS"

func recordDir() string { return os.Getenv(RecordEnv) }

var recorded atomic.Int64

// maxRecorded leaves out the contents of large messages.
const maxRecorded = 1 << 20

func (s *Server) record(r *Request) {
	if s.recordTo == "" || r.Body == "" || len(r.Body) > maxRecorded {
		return
	}
	name := fmt.Sprintf("%s-%d-%05d.xml", r.Operation, os.Getpid(), recorded.Add(1))
	must(os.WriteFile(filepath.Join(s.recordTo, name), []byte(r.Body), 0o600))
}
