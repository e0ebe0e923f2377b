package gssapi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/maildriver/maildriver/driver"
)

// The file format of MIT Kerberos ("The Credential Cache File Format" in its
// documentation), versions 3 and 4. gokrb5's own reader allocates what the file
// says and panics on one that is cut.

var errCache = errors.New("not a credential cache of version 3 or 4")

type cacheEntry struct {
	client, server cachePrincipal
	key            types.EncryptionKey
	end, renew     time.Time
	ticket         []byte
}

type cachePrincipal struct {
	name  types.PrincipalName
	realm string
}

// cacheReader reads big-endian fields; after a failure everything is zero.
type cacheReader struct {
	b   []byte
	bad bool
}

func (r *cacheReader) take(n uint32) []byte {
	if r.bad || uint64(n) > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *cacheReader) u16() uint16 {
	if v := r.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *cacheReader) u32() uint32 {
	if v := r.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *cacheReader) data() []byte { return r.take(r.u32()) }

func (r *cacheReader) time() time.Time {
	if s := r.u32(); s != 0 {
		return time.Unix(int64(s), 0).UTC()
	}
	return time.Time{}
}

func (r *cacheReader) principal() (p cachePrincipal) {
	p.name.NameType = int32(r.u32()) //nolint:gosec // a signed field
	n := r.u32()
	p.realm = string(r.data())
	for i := uint32(0); i < n && !r.bad; i++ {
		p.name.NameString = append(p.name.NameString, string(r.data()))
	}
	return p
}

// pairs skips a list of addresses or authorisation data.
func (r *cacheReader) pairs() {
	for n := r.u32(); n > 0 && !r.bad; n-- {
		r.u16()
		r.data()
	}
}

func (r *cacheReader) entry(version byte) (e cacheEntry) {
	e.client, e.server = r.principal(), r.principal()
	e.key.KeyType = int32(r.u16())
	if version == 3 {
		r.u16() // the type again
	}
	e.key.KeyValue = r.data()
	r.time() // authtime
	r.time() // starttime
	e.end, e.renew = r.time(), r.time()
	r.take(1) // is_skey
	r.u32()   // flags
	r.pairs() // addresses
	r.pairs() // authorisation data
	e.ticket = r.data()
	r.data() // second ticket
	return e
}

// parseCache reads the default principal and all tickets.
func parseCache(b []byte) (owner cachePrincipal, list []cacheEntry, err error) {
	r := &cacheReader{b: b}
	head := r.take(2)
	if r.bad || head[0] != 5 || head[1] != 3 && head[1] != 4 {
		return owner, nil, errCache
	}
	if head[1] == 4 {
		r.take(uint32(r.u16())) // the header's fields concern the KDC's clock alone
	}
	owner = r.principal()
	for len(r.b) > 0 && !r.bad {
		e := r.entry(head[1])
		// Entries of this realm are settings, not tickets.
		if !r.bad && !strings.HasPrefix(e.server.realm, "X-CACHECONF:") {
			list = append(list, e)
		}
	}
	if r.bad {
		return owner, nil, errCache
	}
	return owner, list, nil
}

// cached finds a ticket of the cache's owner: for a service that is still good,
// or, for the zero name, the ticket-granting ticket that lasts longest, in
// whatever state. It is nil if there is none.
func (c *Client) cached(name types.PrincipalName, realm string) (*ticket, error) {
	path, err := c.cred.cachePath()
	var b []byte
	if err == nil {
		b, err = readFile(path)
	}
	var owner cachePrincipal
	var list []cacheEntry
	if err == nil {
		owner, list, err = parseCache(b)
	}
	if err != nil {
		return nil, fail(driver.KindConfig, StepCredentials, path, err)
	}
	tgt := len(name.NameString) == 0
	if tgt {
		name, realm = tgtName(owner.realm), owner.realm
	}
	var best *ticket
	for _, e := range list {
		if !e.server.name.Equal(name) || realm != "" && e.server.realm != realm ||
			!e.client.name.Equal(owner.name) || e.client.realm != owner.realm {
			continue
		}
		t := &ticket{
			cname: owner.name, crealm: owner.realm, key: e.key,
			name: e.server.name, realm: e.server.realm, end: e.end, renew: e.renew,
		}
		if _, err := aes(e.key.KeyType); err != nil {
			return nil, fail(driver.KindConfig, StepCredentials, path, err)
		}
		if _, err := guard(func() (any, error) { return nil, t.ticket.Unmarshal(e.ticket) }); err != nil {
			return nil, fail(driver.KindConfig, StepCredentials, path, fmt.Errorf("a ticket of the cache: %w", errMalformed))
		}
		if !tgt && !t.good(c.now()) || best != nil && t.end.Before(best.end) {
			continue
		}
		best = t
	}
	return best, nil
}
