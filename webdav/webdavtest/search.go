package webdavtest

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// A multi writes a multistatus in Exchange's dialect.
type multi struct {
	w io.Writer
	p string // the prefix of DAV:
}

func (s *Server) multi(w http.ResponseWriter) *multi {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(http.StatusMultiStatus)
	m := &multi{w, s.prefix}
	m.printf(`<?xml version="1.0"?><%[1]s:multistatus xmlns:b="urn:uuid:c2f41010-65b3-11d1-a29f-00aa00c14882/" xmlns:c="xml:" xmlns:%[1]s="DAV:">`, m.p)
	return m
}

func (m *multi) printf(format string, args ...any) { _, _ = fmt.Fprintf(m.w, format, args...) }

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

func (m *multi) open(href string) {
	m.printf(`<%[1]s:response><%[1]s:href>%[2]s</%[1]s:href>`, m.p, escape(href))
}

func (m *multi) stat(status int, name xml.Name, inner string) {
	m.props(status, fmt.Sprintf(`<x:%s xmlns:x="%s">%s</x:%s>`, name.Local, name.Space, inner, name.Local))
}

func (m *multi) props(status int, inner string) {
	m.printf(`<%[1]s:propstat><%[1]s:status>HTTP/1.1 %[2]d %[3]s</%[1]s:status><%[1]s:prop>%[4]s</%[1]s:prop></%[1]s:propstat>`, m.p, status, http.StatusText(status), inner)
}

func (m *multi) end()    { m.printf(`</%s:response>`, m.p) }
func (m *multi) finish() { m.printf(`</%s:multistatus>`, m.p) }

// value gives the inner XML of a property and its attributes; ok is false where
// there is none.
func (s *Server) value(name xml.Name, dir string, it *item) (attr, inner string, ok bool) {
	switch name.Space + name.Local {
	case "DAV:isfolder":
		return ` b:dt="boolean"`, boolean(it == nil), true
	case "DAV:resourcetype":
		if it == nil {
			return "", `<` + s.prefix + `:collection/>`, true
		}
		return "", "", true
	case "DAV:uid":
		if it != nil {
			return "", "uid-" + it.uid, true
		}
	case "DAV:getcontentlength":
		if it != nil {
			return ` b:dt="int"`, fmt.Sprint(it.size), true
		}
	case "http://schemas.microsoft.com/repl/repl-uid":
		if it != nil {
			return "", it.uid, true
		}
	case "http://schemas.microsoft.com/exchange/permanenturl":
		if it != nil {
			return "", escape(s.origin() + mailboxPath + encode(flatPrefix+it.uid)), true
		}
	case "urn:schemas:httpmail:read":
		if it != nil {
			return ` b:dt="boolean"`, boolean(it.read), true
		}
	case "urn:schemas:httpmail:sendmsg":
		return "", s.origin() + mailboxPath + submission + "/", dir == ""
	case "urn:schemas:httpmail:msgfolderroot":
		return "", s.origin() + mailboxPath, dir == ""
	}
	if prop, ok := strings.CutPrefix(name.Space+name.Local, "urn:schemas:httpmail:"); ok && dir == "" && s.names[prop] != "" {
		blanks := ""
		if s.names["inbox"] != english["inbox"] {
			blanks = "\n  "
		}
		return "", blanks + escape(s.origin()+mailboxPath+encode(s.names[prop])) + blanks, true
	}
	return "", "", false
}

func boolean(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func (s *Server) row(m *multi, brief bool, dir string, it *item, names []xml.Name) {
	href := s.origin() + mailboxPath
	if dir != "" {
		href += encode(dir) + "/"
	}
	if it != nil {
		href += encode(it.name)
	}
	m.open(href)
	var found, missing strings.Builder
	for _, n := range names {
		attr, inner, ok := s.value(n, dir, it)
		if ok {
			fmt.Fprintf(&found, `<d:%s xmlns:d="%s"%s>%s</d:%s>`, n.Local, n.Space, attr, inner, n.Local)
		} else {
			fmt.Fprintf(&missing, `<d:%s xmlns:d="%s"/>`, n.Local, n.Space)
		}
	}
	if found.Len() > 0 || brief {
		m.props(http.StatusOK, found.String())
	}
	if missing.Len() > 0 && !brief {
		m.props(http.StatusNotFound, missing.String())
	}
	m.end()
}

func (s *Server) propfind(w http.ResponseWriter, r *http.Request) {
	var find struct {
		XMLName xml.Name `xml:"DAV: propfind"`
		Prop    struct {
			Any []struct{ XMLName xml.Name } `xml:",any"`
		} `xml:"DAV: prop"`
	}
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxNoted))
	if err := xml.Unmarshal(body, &find); err != nil || r.Header.Get("Depth") == "" {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f, dir, name, it := s.split(r.URL.Path)
	if f == nil || name != "" && it == nil {
		http.NotFound(w, r)
		return
	}
	var names []xml.Name
	for _, p := range find.Prop.Any {
		names = append(names, p.XMLName)
	}
	m := s.multi(w)
	s.row(m, has(r.Header, "Brief", "t"), dir, it, names)
	m.finish()
}

// statement is the SQL that is understood. Names stand in double quotes, the
// scope in single ones with single quotes doubled.
var statement = regexp.MustCompile(`^SELECT ((?:"[^"]+")(?:, "[^"]+")*) FROM SCOPE\('SHALLOW TRAVERSAL OF "((?:[^"']|'')+)"'\) WHERE "DAV:isfolder" = false AND "DAV:ishidden" = false ORDER BY "urn:schemas:httpmail:datereceived" ASC$`)

func (s *Server) search(w http.ResponseWriter, r *http.Request) {
	var req struct {
		XMLName xml.Name `xml:"DAV: searchrequest"`
		SQL     string   `xml:"DAV: sql"`
	}
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxNoted))
	if err := xml.Unmarshal(body, &req); err != nil {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	parts := statement.FindStringSubmatch(req.SQL)
	if parts == nil {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	scope, err := url.Parse(strings.ReplaceAll(parts[2], "''", "'"))
	if err != nil || scope.Path != r.URL.Path {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f, dir, name, _ := s.split(r.URL.Path)
	if f == nil || name != "" {
		http.NotFound(w, r)
		return
	}
	var names []xml.Name
	for word := range strings.SplitSeq(parts[1], ", ") {
		word = strings.Trim(word, `"`)
		i := strings.LastIndexAny(word, ":/") + 1
		names = append(names, xml.Name{Space: word[:i], Local: word[i:]})
	}
	items := f.items
	if rng := r.Header.Get("Range"); rng != "" && !s.noRange {
		var first, last int
		if _, err := fmt.Sscanf(rng, "rows=%d-%d", &first, &last); err != nil || last < first {
			http.Error(w, "Bad Request", http.StatusBadRequest)
			return
		}
		if first >= len(items) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		last = min(last, len(items)-1)
		w.Header().Set("Content-Range", fmt.Sprintf("rows %d-%d; total=%d", first, last, len(items)))
		items = items[first : last+1]
	}
	m := s.multi(w)
	for _, it := range items {
		s.row(m, has(r.Header, "Brief", "t"), dir, it, names)
	}
	m.finish()
}
