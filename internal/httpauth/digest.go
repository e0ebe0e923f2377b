package httpauth

import (
	"crypto/md5" //nolint:gosec // RFC 7616 keeps it for old servers
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
	"sync"
)

// Basic makes the value of an Authorization field (RFC 7617). The user must
// hold no colon.
func Basic(user, password string) (string, error) {
	if strings.Contains(user, ":") {
		return "", errors.New("basic authentication takes no colon in the user name")
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)), nil
}

// ErrDigest says that a Digest challenge cannot be answered.
var ErrDigest = errors.New("digest challenge that cannot be answered")

// A Digest answers Digest challenges (RFC 7616) for one account: SHA-256,
// SHA-512-256 and MD5, with and without -sess, qop "auth" or none, user names
// hashed where the server wants it. It counts the uses of each nonce. Any
// number of goroutines may use it. It must not be copied after first use.
type Digest struct {
	Username string
	Password string // prints nowhere: a Digest formats as its type

	mu     sync.Mutex
	nonce  string // of the latest challenge
	count  uint32
	cnonce string
	random func() string // for tests
}

// Format keeps the password out of every verb of fmt.
func (d *Digest) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("httpauth.Digest")) }

// algorithms in the order of their strength.
var algorithms = []struct {
	name string
	hash func() hash.Hash
}{
	{"SHA-512-256", sha512.New512_256},
	{"SHA-256", sha256.New},
	{"MD5", md5.New},
}

// Best picks the Digest challenge with the strongest algorithm that we know
// (RFC 7616 section 3.7). ok is false if there is none.
func Best(list []Challenge) (best Challenge, ok bool) {
	rank := len(algorithms)
	for _, c := range list {
		if !c.Is("Digest") {
			continue
		}
		if i, _, _ := algorithm(c); i >= 0 && i < rank {
			best, rank, ok = c, i, true
		}
	}
	return best, ok
}

func algorithm(c Challenge) (index int, name string, sess bool) {
	name = c.Params["algorithm"]
	if name == "" {
		name = "MD5"
	}
	base, sess := strings.ToUpper(name), false
	if s, ok := strings.CutSuffix(base, "-SESS"); ok {
		base, sess = s, true
	}
	for i, a := range algorithms {
		if a.name == base {
			return i, name, sess
		}
	}
	return -1, name, sess
}

// Authorize makes the value of the Authorization or Proxy-Authorization field
// that answers c. uri is what the request line says: path and query, or
// host:port of CONNECT. The same challenge may be answered again and again.
func (d *Digest) Authorize(method, uri string, c Challenge) (string, error) {
	i, name, sess := algorithm(c)
	if i < 0 {
		return "", fmt.Errorf("%w: unknown algorithm", ErrDigest)
	}
	nonce, realm := c.Params["nonce"], c.Params["realm"]
	if nonce == "" {
		return "", fmt.Errorf("%w: no nonce", ErrDigest)
	}
	qop, withQOP := c.Params["qop"]
	if withQOP && !offers(qop, "auth") {
		return "", fmt.Errorf("%w: qop auth is not offered", ErrDigest)
	}
	if sess && !withQOP {
		return "", fmt.Errorf("%w: -sess without qop", ErrDigest)
	}
	if strings.ContainsAny(d.Username+uri+method, "\r\n\x00") {
		return "", fmt.Errorf("%w: a line end in the user name or address", ErrDigest)
	}
	nc, cnonce := d.next(nonce)
	h := func(s string) string {
		sum := algorithms[i].hash()
		_, _ = sum.Write([]byte(s))
		return hex.EncodeToString(sum.Sum(nil))
	}
	a1 := h(d.Username + ":" + realm + ":" + d.Password)
	if sess {
		a1 = h(a1 + ":" + nonce + ":" + cnonce)
	}
	a2 := h(method + ":" + uri)
	response := h(a1 + ":" + nonce + ":" + a2)
	if withQOP {
		response = h(a1 + ":" + nonce + ":" + nc + ":" + cnonce + ":auth:" + a2)
	}
	user := d.Username
	hashed := strings.EqualFold(c.Params["userhash"], "true")
	if hashed {
		user = h(d.Username + ":" + realm)
	}
	var b strings.Builder
	b.WriteString("Digest ")
	if !hashed && !isASCII(user) {
		b.WriteString("username*=UTF-8''" + percent(user)) // RFC 8187
	} else {
		b.WriteString("username=" + quote(user))
	}
	b.WriteString(", realm=" + quote(realm) + ", nonce=" + quote(nonce) + ", uri=" + quote(uri) + `, response="` + response + `"`)
	if _, told := c.Params["algorithm"]; told {
		b.WriteString(", algorithm=" + name)
	}
	if opaque, told := c.Params["opaque"]; told {
		b.WriteString(", opaque=" + quote(opaque))
	}
	if withQOP {
		b.WriteString(", qop=auth, nc=" + nc + `, cnonce="` + cnonce + `"`)
	}
	if hashed {
		b.WriteString(", userhash=true")
	}
	return b.String(), nil
}

// Verify checks the Authentication-Info fields of a response (RFC 7616 section
// 3.5) against the field value that Authorize made for its request: rspauth, if
// there is one, proves that the server knows the password. A server need not
// send it.
func (d *Digest) Verify(sent string, info []string) error {
	if len(info) == 0 {
		return nil
	}
	told, err := Parse([]string{"Digest " + strings.Join(info, ", ")})
	if err != nil || len(told) != 1 {
		return fmt.Errorf("%w: Authentication-Info cannot be read", ErrDigest)
	}
	proof, ok := told[0].Params["rspauth"]
	if !ok {
		return nil
	}
	asked, err := Parse([]string{sent})
	if err != nil || len(asked) != 1 {
		return fmt.Errorf("%w: the request's own field cannot be read", ErrDigest)
	}
	q := asked[0].Params
	i, _, sess := algorithm(asked[0])
	if i < 0 {
		return fmt.Errorf("%w: unknown algorithm", ErrDigest)
	}
	h := func(s string) string {
		sum := algorithms[i].hash()
		_, _ = sum.Write([]byte(s))
		return hex.EncodeToString(sum.Sum(nil))
	}
	a1 := h(d.Username + ":" + q["realm"] + ":" + d.Password)
	if sess {
		a1 = h(a1 + ":" + q["nonce"] + ":" + q["cnonce"])
	}
	want := h(a1 + ":" + q["nonce"] + ":" + h(":"+q["uri"]))
	if q["qop"] != "" {
		want = h(a1 + ":" + q["nonce"] + ":" + q["nc"] + ":" + q["cnonce"] + ":auth:" + h(":"+q["uri"]))
	}
	if subtle.ConstantTimeCompare([]byte(strings.ToLower(proof)), []byte(want)) != 1 {
		return fmt.Errorf("%w: the server's proof of itself is wrong", ErrDigest)
	}
	return nil
}

// next counts a use of the nonce. The cnonce stays the same with it, as -sess
// needs (RFC 7616 section 3.4.2).
func (d *Digest) next(nonce string) (nc, cnonce string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nonce != nonce || d.cnonce == "" || d.count == 1<<32-1 {
		d.nonce, d.count = nonce, 0
		if d.random != nil {
			d.cnonce = d.random()
		} else {
			d.cnonce = rand.Text()
		}
	}
	d.count++
	return fmt.Sprintf("%08x", d.count), d.cnonce
}

// offers reports whether a list of qop values holds one.
func offers(list, want string) bool {
	for v := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.TrimSpace(v), want) {
			return true
		}
	}
	return false
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

// percent encodes all that RFC 8187 does not permit bare.
func percent(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; isAlnum(c) || strings.IndexByte("!#$&+-.^_`|~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
