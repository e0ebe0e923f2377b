package httpx

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of a jar: a server that sets more loses the rest.
const (
	maxCookies     = 64
	maxCookieBytes = 16 << 10
)

// A jar keeps the cookies of one origin and gives them back byte for byte,
// quotes included: Exchange's cadata holds commas, plus and equal signs. The
// Domain attribute is ignored, so that a cookie stays with the host that set
// it. A nil jar keeps nothing. It is safe for many goroutines at once.
type jar struct {
	mu      sync.Mutex
	cookies []cookie
}

type cookie struct{ name, value, path string }

// attach puts the cookies for a request into its header.
func (j *jar) attach(req *http.Request) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	var list []string
	for _, c := range j.cookies {
		if pathMatch(req.URL.EscapedPath(), c.path) {
			list = append(list, c.name+"="+c.value)
		}
	}
	if len(list) > 0 {
		req.Header["Cookie"] = []string{strings.Join(list, "; ")}
	}
}

// pathMatch is RFC 6265 section 5.1.4, without regard to case, as the servers
// that these cookies come from are.
func pathMatch(path, of string) bool {
	if of == "" || of == "/" {
		return true
	}
	if len(path) < len(of) || !strings.EqualFold(path[:len(of)], of) {
		return false
	}
	return len(path) == len(of) || strings.HasSuffix(of, "/") || path[len(of)] == '/'
}

// take notes the cookies of the answer to a request. One that the answer takes
// back is dropped only if it is the one that the request came with: the answer
// to an old session must not end a new one.
func (j *jar) take(req *http.Request, h http.Header) {
	if j == nil {
		return
	}
	sent := "; " + req.Header.Get("Cookie") + "; "
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, line := range h["Set-Cookie"] {
		c, gone, ok := readCookie(line)
		if !ok {
			continue
		}
		at := -1
		for i := range j.cookies {
			if j.cookies[i].name == c.name && j.cookies[i].path == c.path {
				at = i
			}
		}
		switch {
		case gone && at >= 0 && !strings.Contains(sent, "; "+c.name+"="+j.cookies[at].value+"; "):
		case gone && at >= 0:
			j.cookies = append(j.cookies[:at], j.cookies[at+1:]...)
		case gone:
		case at >= 0:
			j.cookies[at] = c
		case len(j.cookies) < maxCookies:
			j.cookies = append(j.cookies, c)
		}
	}
}

func readCookie(line string) (c cookie, gone, ok bool) {
	pair, attrs, _ := strings.Cut(line, ";")
	name, value, found := strings.Cut(pair, "=")
	c.name, c.value = strings.TrimSpace(name), strings.TrimSpace(value)
	if !found || c.name == "" || len(line) > maxCookieBytes || !plain(c.name) || !plain(c.value) {
		return c, false, false
	}
	gone = c.value == ""
	for attr := range strings.SplitSeq(attrs, ";") {
		key, val, _ := strings.Cut(strings.TrimSpace(attr), "=")
		val = strings.TrimSpace(val)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "path":
			if strings.HasPrefix(val, "/") {
				c.path = val
			}
		case "max-age":
			if n, err := strconv.Atoi(val); err == nil && n <= 0 {
				gone = true
			}
		case "expires":
			if t, err := http.ParseTime(val); err == nil && t.Before(time.Now()) {
				gone = true
			}
		}
	}
	return c, gone, true
}

// plain tells that a text can stand in a header.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f || s[i] == ';' {
			return false
		}
	}
	return true
}

// Cookie gives the value of a cookie, "" if there is none.
func (c *Client) Cookie(name string) string {
	if c.jar == nil {
		return ""
	}
	c.jar.mu.Lock()
	defer c.jar.mu.Unlock()
	for _, k := range c.jar.cookies {
		if k.name == name {
			return k.value
		}
	}
	return ""
}

// Forget drops all cookies.
func (c *Client) Forget() {
	if c.jar == nil {
		return
	}
	c.jar.mu.Lock()
	defer c.jar.mu.Unlock()
	c.jar.cookies = nil
}
