package sasl

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // DIGEST-MD5
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"

	"github.com/maildriver/maildriver/driver"
)

// digestMD5 is DIGEST-MD5 (RFC 2831) with the quality of protection "auth":
// neither integrity nor confidentiality, for which there is TLS.
type digestMD5 struct {
	user     string
	password driver.Secret
	realm    string // wanted; "" takes the server's
	service  string
	host     string
	cnonce   string // made by Next if empty

	expect string // the server's proof
	done   bool
}

func (d *digestMD5) Start() (string, []byte, error) {
	d.expect, d.done = "", false
	return "DIGEST-MD5", nil, nil
}

func (d *digestMD5) Next(challenge []byte) ([]byte, error) {
	var answer []byte
	var err error
	switch {
	case d.done:
		err = errors.New("a challenge too many")
	case d.expect == "":
		answer, err = d.answer(challenge)
	default:
		answer, err = []byte{}, d.verify(challenge)
	}
	if err != nil {
		return nil, fmt.Errorf("DIGEST-MD5: %w", err)
	}
	return answer, nil
}

// Complete fails before the server has proved that it knows the password.
func (d *digestMD5) Complete() error {
	if !d.done {
		return fmt.Errorf("DIGEST-MD5: %w", driver.ErrServerProof)
	}
	return nil
}

func (d *digestMD5) verify(challenge []byte) error {
	list, err := parseDirectives(challenge)
	if err != nil {
		return err
	}
	proof, err := list.one("rspauth")
	if err != nil || !hmac.Equal([]byte(proof), []byte(d.expect)) {
		return driver.ErrServerProof
	}
	d.done = true
	return nil
}

// answer makes the digest-response (RFC 2831 section 2.1.2).
func (d *digestMD5) answer(challenge []byte) ([]byte, error) {
	c, err := parseDigestChallenge(challenge)
	if err != nil {
		return nil, err
	}
	realm, hasRealm := d.pick(c.realms)
	user, pass := d.user, d.password.Reveal()
	if !c.utf8 && !latin(user, realm, pass) {
		return nil, errors.New("user name, realm or password need UTF-8, which the server does not offer")
	}
	if d.cnonce == "" {
		d.cnonce = rand.Text()
	}
	const count = "00000001"
	uri := d.service + "/" + d.host

	secret := md5.Sum([]byte(latin1(user) + ":" + latin1(realm) + ":" + latin1(pass)))
	a1 := md5hex(string(secret[:]) + ":" + c.nonce + ":" + d.cnonce)
	proof := func(a2 string) string {
		return md5hex(a1 + ":" + c.nonce + ":" + count + ":" + d.cnonce + ":auth:" + md5hex(a2))
	}
	d.expect = proof(":" + uri)

	encode := func(s string) string { return s }
	if !c.utf8 {
		encode = latin1
	}
	var b strings.Builder
	if c.utf8 {
		b.WriteString("charset=utf-8,")
	}
	b.WriteString("username=" + quoteDigest(encode(user)))
	if hasRealm {
		b.WriteString(",realm=" + quoteDigest(encode(realm)))
	}
	b.WriteString(",nonce=" + quoteDigest(c.nonce) + ",nc=" + count + ",cnonce=" + quoteDigest(d.cnonce) +
		",digest-uri=" + quoteDigest(uri) + ",response=" + proof("AUTHENTICATE:"+uri) + ",qop=auth")
	return []byte(b.String()), nil
}

// pick chooses the realm: the wanted one, else the one that is named as the
// server is, else the first. Without any there is none in the answer.
func (d *digestMD5) pick(offered []string) (realm string, ok bool) {
	switch {
	case d.realm != "":
		return d.realm, true
	case len(offered) == 0:
		return "", false
	}
	if i := slices.IndexFunc(offered, func(r string) bool { return strings.EqualFold(r, d.host) }); i >= 0 {
		return offered[i], true
	}
	return offered[0], true
}

func md5hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

func latin(texts ...string) bool {
	for _, s := range texts {
		for _, r := range s {
			if r > 0xff {
				return false
			}
		}
	}
	return true
}

// latin1 writes a text in ISO 8859-1 if that can hold it, and leaves it in UTF-8
// else: that is what is hashed with the charset utf-8 too (RFC 2831 section
// 2.1.2.1).
func latin1(s string) string {
	if !utf8.ValidString(s) {
		return s
	}
	out, err := charmap.ISO8859_1.NewEncoder().String(s)
	if err != nil {
		return s
	}
	return out
}

func quoteDigest(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
