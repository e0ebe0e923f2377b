package webdavtest

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	htmlpkg "html"
	"net/http"
	"net/url"
	"strings"
)

// login answers what belongs to logging in, and reports whether the request
// may go on.
func (s *Server) login(w http.ResponseWriter, r *http.Request) bool {
	path := strings.ToLower(r.URL.Path)
	if s.version == Exchange2007 {
		w.Header().Set("X-OWA-Version", "8.1.240.5")
	}
	switch path {
	case "/exchweb/bin/auth/owalogon.asp", "/owa/auth/logon.aspx":
		s.logonPage(w, r)
		return false
	case "/exchweb/bin/auth/owaauth.dll", "/owa/auth/owaauth.dll":
		s.logon(w, r)
		return false
	case "/owa/":
		if s.version == Exchange2007 || s.off != 0 {
			http.Redirect(w, r, s.page()+"?url="+url.QueryEscape(s.URL+"/owa/")+"&reason=0", http.StatusFound)
		} else {
			http.NotFound(w, r)
		}
		return false
	}
	if !strings.HasPrefix(path, "/exchange/") && path != "/public/" {
		http.NotFound(w, r)
		return false
	}
	if s.ntlm {
		return s.connectionLogin(w, r)
	}
	if !s.forms {
		user, pass, ok := r.BasicAuth()
		if !ok || !strings.EqualFold(user, User) || subtle.ConstantTimeCompare([]byte(pass), []byte(Password)) == 0 {
			w.Header().Set("WWW-Authenticate", `Basic realm="exch"`)
			http.Error(w, "Access is denied", http.StatusUnauthorized)
			return false
		}
		return true
	}
	if s.hasSession(r) {
		return true
	}
	if r.Method == http.MethodGet && r.Header.Get("Translate") == "" {
		http.Redirect(w, r, s.page()+"?url="+url.QueryEscape(s.URL+r.RequestURI)+"&reason=0", http.StatusFound)
		return false
	}
	w.Header().Add("Set-Cookie", "sessionid=; path=/; expires=Thu, 01-Jan-1970 00:00:00 GMT")
	w.Header().Add("Set-Cookie", "cadata=; path=/; expires=Thu, 01-Jan-1970 00:00:00 GMT")
	w.WriteHeader(440)
	return false
}

func (s *Server) page() string {
	if s.version == Exchange2007 {
		return s.URL + "/owa/auth/logon.aspx"
	}
	return s.URL + "/exchweb/bin/auth/owalogon.asp"
}

func (s *Server) logonPage(w http.ResponseWriter, r *http.Request) {
	if has(r.Header, "Translate", "f") {
		http.Error(w, "Forbidden", http.StatusForbidden)
		return
	}
	target := r.URL.Query().Get("url")
	if s.frameset && r.URL.Query().Get("frame") == "" {
		html(w, `<frameset><frame name="f" src="%s"></frameset>`, htmlpkg.EscapeString(r.URL.Path+"?frame=1&url="+url.QueryEscape(target)))
		return
	}
	action := "/exchweb/bin/auth/owaauth.dll"
	if s.version == Exchange2007 {
		action = "owaauth.dll" // relative to the page
	}
	html(w, `<form action="/search" name="s"><input name="q"></form>
<FORM action="%s" method="POST" name="logonForm" autocomplete="off">
<input type="hidden" name="destination" value="%s"><input type="hidden" name="flags" value="0"><input type="hidden" name="forcedownlevel" value="0">
<input type="radio" name="trusted" value="0" checked><input type="text" id="username" name="username"><INPUT type="password" name="password">
<input type="submit" name="SubmitCreds" value="Log On"></FORM>`, action, htmlpkg.EscapeString(target))
}

// logon takes the form. Exchange 2003 sends a wrong password back to the page;
// 2007 gives cookies all the same, that are good for nothing.
func (s *Server) logon(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.logins++
	s.mu.Unlock()
	if r.Method != http.MethodPost || r.ParseForm() != nil {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	f := r.PostForm
	if u, err := url.Parse(f.Get("destination")); err != nil || !u.IsAbs() || f.Get("flags") == "" || f.Get("trusted") == "" || f.Get("SubmitCreds") == "" {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	if s.version == Exchange2007 && strings.HasPrefix(r.URL.Path, "/exchweb/") {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	right := f.Get("username") == User && f.Get("password") == Password
	if !right && s.version == Exchange2003 {
		http.Redirect(w, r, s.page()+"?url="+url.QueryEscape(f.Get("destination"))+"&reason=2", http.StatusFound)
		return
	}
	// What cookies of Exchange look like: commas, plus, slash, equal signs, in
	// quotes.
	cadata := fmt.Sprintf(`"2,8JOr+/%s,%s=="`, rand.Text(), rand.Text())
	id := rand.Text() + ":0x409"
	if right {
		s.mu.Lock()
		s.sessions[id+"|"+cadata] = true
		s.mu.Unlock()
	}
	w.Header().Add("Set-Cookie", "sessionid="+id+"; path=/")
	w.Header().Add("Set-Cookie", "cadata="+cadata+"; HttpOnly; secure; path=/")
	if s.version == Exchange2007 {
		w.Header().Add("Set-Cookie", "UserContext="+rand.Text()+"; path=/")
	}
	http.Redirect(w, r, f.Get("destination"), http.StatusFound)
}

// hasSession compares cookies byte for byte.
func (s *Server) hasSession(r *http.Request) bool {
	var id, cadata string
	for pair := range strings.SplitSeq(r.Header.Get("Cookie"), "; ") {
		if v, ok := strings.CutPrefix(pair, "sessionid="); ok {
			id = v
		}
		if v, ok := strings.CutPrefix(pair, "cadata="); ok {
			cadata = v
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[id+"|"+cadata]
}
