package webdav

import (
	"regexp"
	"strings"

	"golang.org/x/net/html"
)

// A page is what matters of a page of HTML.
type page struct {
	base   string
	frames []string
	forms  []*form
	script string // the addresses that scripts of Exchange 2007 build the action of
}

// A form is one of a page.
type form struct {
	name, id, action string
	fields           []field // hidden ones, with their values
	user, password   string  // the names of the inputs
}

type field struct{ name, value string }

// Limits of a page.
const (
	maxForms  = 16
	maxFields = 64
)

// parsePage reads as much of a page as it can.
func parsePage(text string) *page {
	p := &page{}
	z := html.NewTokenizer(strings.NewReader(text))
	z.SetMaxBuf(maxPage)
	var open *form
	inScript := false
	for {
		switch z.Next() {
		case html.ErrorToken:
			return p
		case html.TextToken:
			if inScript && p.script == "" {
				p.script = scriptAction(string(z.Text()))
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			switch string(name) {
			case "form":
				open = nil
			case "script":
				inScript = false
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, more := z.TagName()
			attr := attributes(z, more)
			switch string(name) {
			case "script":
				inScript = true
			case "base":
				if p.base == "" {
					p.base = attr["href"]
				}
			case "frame", "iframe":
				if attr["src"] != "" {
					p.frames = append(p.frames, attr["src"])
				}
			case "form":
				if len(p.forms) < maxForms {
					open = &form{name: attr["name"], id: attr["id"], action: strings.TrimSpace(attr["action"])}
					p.forms = append(p.forms, open)
				}
			case "input":
				if open != nil {
					open.input(attr)
				}
			}
		}
	}
}

func attributes(z *html.Tokenizer, more bool) map[string]string {
	attr := map[string]string{}
	for n := 0; more && n < maxFields; n++ {
		var k, v []byte
		k, v, more = z.TagAttr()
		if _, twice := attr[string(k)]; !twice {
			attr[string(k)] = string(v)
		}
	}
	return attr
}

func (f *form) input(attr map[string]string) {
	name := attr["name"]
	if name == "" {
		return
	}
	switch strings.ToLower(attr["type"]) {
	case "hidden":
		if len(f.fields) < maxFields {
			f.fields = append(f.fields, field{name, attr["value"]})
		}
	case "password":
		f.password = name
	case "", "text", "email":
		if f.user == "" {
			f.user = name
		}
	}
}

// form picks the login form: the only one, or the one with the name or id that
// Exchange gives it, or else the only one with a password. nil if there is
// none.
func (p *page) form() *form {
	if len(p.forms) == 1 && p.forms[0].password != "" {
		return p.forms[0]
	}
	for _, f := range p.forms {
		if strings.EqualFold(f.name, "logonForm") || strings.EqualFold(f.id, "loginForm") {
			return f
		}
	}
	for _, f := range p.forms {
		if f.password != "" {
			return f
		}
	}
	return nil
}

var (
	scriptURL = regexp.MustCompile(`(?m)\ba_sUrl\s*=\s*["']([^"'\n]{1,512})["']`)
	scriptLgn = regexp.MustCompile(`(?m)\ba_sLgn(?:QS)?\s*=\s*["']([^"'\n]{1,512})["']`)
)

// scriptAction is the address that the login page of Exchange 2007 keeps in
// variables: a_sLgn or a_sLgnQS, behind a_sUrl if that is a path.
func scriptAction(script string) string {
	lgn := scriptLgn.FindStringSubmatch(script)
	if lgn == nil {
		return ""
	}
	if u := scriptURL.FindStringSubmatch(script); u != nil && strings.HasPrefix(u[1], "/") && strings.HasSuffix(u[1], "/") && !strings.HasPrefix(lgn[1], "/") {
		return u[1] + lgn[1]
	}
	return lgn[1]
}

// What a Location says of a login.
type logon uint8

const (
	notLogon  logon = iota
	logonForm       // Outlook Web Access, or a proxy in front of it
	logonOld        // Exchange 5.5
)

// logonPage knows the login pages by their names.
func logonPage(location string) logon {
	path, _, _ := strings.Cut(strings.ToLower(location), "?")
	name := path[strings.LastIndexByte(path, '/')+1:]
	switch name {
	case "owalogon.asp", "logon.aspx", "cookieauth.dll":
		return logonForm
	case "logon.asp":
		return logonOld
	}
	return notLogon
}
