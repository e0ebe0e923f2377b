package webdavtest

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/mail"
	"net/url"
	"path"
	"strings"
)

const submission = "##DavMailSubmissionURI##"

// dav answers a request of somebody who is logged in.
func (s *Server) dav(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("MS-WebStorage", map[Version]string{Exchange2003: "6.5.7638", Exchange2007: "08.01.10240"}[s.version])
	if s.off != 0 && r.Method != http.MethodGet {
		w.Header().Del("MS-WebStorage")
		w.WriteHeader(s.off)
		return
	}
	if r.Method == http.MethodGet && strings.EqualFold(r.URL.Path, "/exchange/") {
		if s.noBase {
			html(w, "welcome")
		} else {
			w.Header().Set("Content-Type", "text/html")
			_, _ = fmt.Fprintf(w, `<HTML><HEAD><BASE href="%s"></HEAD></HTML>`, s.origin()+mailboxPath)
		}
		return
	}
	if strings.Contains(r.URL.Path, "/"+submission) {
		s.submit(w, r)
		return
	}
	switch r.Method {
	case "PROPFIND":
		s.propfind(w, r)
	case "SEARCH":
		s.search(w, r)
	case http.MethodGet:
		s.get(w, r)
	case http.MethodPut:
		s.put(w, r)
	case http.MethodDelete:
		s.remove(w, r)
	case "MOVE":
		s.move(w, r)
	case "PROPPATCH":
		s.proppatch(w, r)
	default:
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	}
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	_, _, _, it := s.split(r.URL.Path)
	s.mu.Unlock()
	if it == nil {
		http.NotFound(w, r)
		return
	}
	if !has(r.Header, "Translate", "f") {
		html(w, "a message, drawn")
		return
	}
	w.Header().Set("Content-Type", "message/rfc822")
	w.Header().Set("Repl-UID", "<"+it.uid+">")
	w.Header().Set("Content-Length", fmt.Sprint(it.size))
	body := it.open()
	defer func() { _ = body.Close() }()
	_, _ = io.Copy(w, body)
}

func (s *Server) put(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil || int64(len(data)) != max(r.ContentLength, int64(len(data))) {
		panic(http.ErrAbortHandler)
	}
	if !has(r.Header, "Content-Type", "message/rfc822") || !has(r.Header, "Translate", "f") {
		http.Error(w, "Unsupported Media Type", http.StatusUnsupportedMediaType)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f, _, name, old := s.split(r.URL.Path)
	if f == nil || name == "" {
		http.Error(w, "Conflict", http.StatusConflict)
		return
	}
	if old != nil {
		f.drop(old)
	}
	n := s.serial.Add(1)
	f.items = append(f.items, &item{name: name, uid: fmt.Sprintf("rid:%032x", n), size: int64(len(data)), open: func() io.ReadCloser { return io.NopCloser(bytes.NewReader(data)) }})
	w.WriteHeader(http.StatusCreated)
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, _, _, it := s.split(r.URL.Path)
	if it == nil {
		http.NotFound(w, r)
		return
	}
	f.drop(it)
	w.WriteHeader(http.StatusOK)
}

func (s *Server) move(w http.ResponseWriter, r *http.Request) {
	dest, err := url.Parse(r.Header.Get("Destination"))
	if err != nil || !dest.IsAbs() || dest.Fragment != "" {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f, dir, _, it := s.split(r.URL.Path)
	if it == nil {
		http.NotFound(w, r)
		return
	}
	if strings.Contains(dest.Path, "/"+submission) {
		s.moveOut(w, f, dir, it)
		return
	}
	to, toDir, name, taken := s.split(dest.Path)
	if to == nil || name == "" {
		http.Error(w, "Conflict", http.StatusConflict)
		return
	}
	if taken != nil {
		if !has(r.Header, "Allow-Rename", "t") {
			http.Error(w, "Precondition Failed", http.StatusPreconditionFailed)
			return
		}
		ext := path.Ext(name)
		for i := 2; to.find(name) != nil; i++ {
			name = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(taken.name, ext), i, ext)
		}
	}
	f.drop(it)
	moved := *it
	moved.name = name
	moved.uid = fmt.Sprintf("rid:%032x", s.serial.Add(1))
	to.items = append(to.items, &moved)
	w.Header().Set("Location", s.origin()+mailboxPath+encode(toDir+"/"+name))
	w.WriteHeader(http.StatusCreated)
}

// moveOut sends a draft. Its recipients are those of its header and of the
// property bcc. The caller holds mu.
func (s *Server) moveOut(w http.ResponseWriter, f *folder, dir string, it *item) {
	body := it.open()
	data, _ := io.ReadAll(body)
	_ = body.Close()
	m, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil || dir != s.names["drafts"] {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	out := Sent{From: Address, Data: data}
	for _, list := range []string{m.Header.Get("To"), m.Header.Get("Cc"), it.bcc} {
		if addrs, err := mail.ParseAddressList(list); err == nil {
			for _, a := range addrs {
				out.To = append(out.To, a.Address)
			}
		}
	}
	if !s.accept(w, &out) {
		return
	}
	f.drop(it)
	to := s.folders[s.names["sentitems"]]
	to.items = append(to.items, it)
	w.WriteHeader(http.StatusCreated)
}

// submit takes an envelope and a message in one.
func (s *Server) submit(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPut || strings.Contains(r.RequestURI, "#") {
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	data, err := io.ReadAll(r.Body)
	if err != nil || r.ContentLength >= 0 && int64(len(data)) != r.ContentLength {
		panic(http.ErrAbortHandler)
	}
	if !has(r.Header, "Content-Type", "message/rfc821") || !has(r.Header, "Translate", "f") {
		http.Error(w, "Unsupported Media Type", http.StatusUnsupportedMediaType)
		return
	}
	var out Sent
	in := bufio.NewReader(bytes.NewReader(data))
	for n := 0; ; n++ {
		line, err := in.ReadString('\n')
		if err != nil || !strings.HasSuffix(line, "\r\n") {
			http.Error(w, "Bad Request", http.StatusBadRequest)
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		from, isFrom := strings.CutPrefix(line, "MAIL FROM:<")
		to, isTo := strings.CutPrefix(line, "RCPT TO:<")
		switch {
		case n == 0 && isFrom:
			out.From = strings.TrimSuffix(from, ">")
		case n > 0 && isTo:
			out.To = append(out.To, strings.TrimSuffix(to, ">"))
		case line == "" && len(out.To) > 0:
			out.Data, _ = io.ReadAll(in)
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.accept(w, &out) {
				w.WriteHeader(http.StatusOK)
			}
			return
		default:
			http.Error(w, "Bad Request", http.StatusBadRequest)
			return
		}
	}
}

// RefusedSender is one that the account may not send as.
const RefusedSender = "boss@example.com"

// accept notes what is sent. The caller holds mu.
func (s *Server) accept(w http.ResponseWriter, out *Sent) bool {
	if strings.EqualFold(out.From, RefusedSender) {
		http.Error(w, "Forbidden", http.StatusForbidden)
		return false
	}
	s.sent = append(s.sent, *out)
	return true
}

func (s *Server) proppatch(w http.ResponseWriter, r *http.Request) {
	var update struct {
		XMLName xml.Name `xml:"DAV: propertyupdate"`
		Set     []struct {
			Prop struct {
				Any []struct {
					XMLName xml.Name
					Value   string `xml:",chardata"`
				} `xml:",any"`
			} `xml:"DAV: prop"`
		} `xml:"DAV: set"`
	}
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxNoted))
	if err := xml.Unmarshal(body, &update); err != nil {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _, _, it := s.split(r.URL.Path)
	if it == nil {
		http.NotFound(w, r)
		return
	}
	m := s.multi(w)
	m.open(s.origin() + r.URL.EscapedPath())
	for _, set := range update.Set {
		for _, p := range set.Prop.Any {
			switch p.XMLName.Space + p.XMLName.Local {
			case "urn:schemas:httpmail:read":
				it.read = p.Value == "1"
			case "urn:schemas:mailheader:bcc":
				it.bcc = p.Value
			default:
				m.stat(http.StatusForbidden, p.XMLName, "")
				continue
			}
			m.stat(http.StatusOK, p.XMLName, "")
		}
	}
	m.end()
	m.finish()
}
