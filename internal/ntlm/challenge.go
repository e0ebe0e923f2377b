package ntlm

import (
	"crypto/md5" //nolint:gosec // MS-NLMP section 3.1.5.1.2 hashes the binding with it
	"encoding/binary"
	"fmt"
)

// challenge is the second message (MS-NLMP section 2.2.1.2).
type challenge struct {
	flags uint32
	nonce [8]byte
	info  pairs
}

const (
	challengeHead = 48 // up to the version, which old servers leave out
	// maxChallenge is far above what servers send, some hundred bytes.
	maxChallenge = 1 << 16
)

func parseChallenge(b []byte) (*challenge, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrChallenge}, args...)...)
	}
	switch {
	case len(b) > maxChallenge:
		return nil, bad("%d bytes, the limit is %d", len(b), maxChallenge)
	case len(b) < 32 || string(b[:8]) != signature:
		return nil, bad("not an NTLM message")
	case binary.LittleEndian.Uint32(b[8:]) != 2:
		return nil, bad("a message of another type")
	}
	c := &challenge{flags: binary.LittleEndian.Uint32(b[20:])}
	copy(c.nonce[:], b[24:])
	// Without target information there is nothing that NTLMv2 could bind its
	// answer to, and a server without Unicode is older than NTLMv2.
	if c.flags&flagUnicode == 0 || c.flags&flagTargetInfo == 0 || len(b) < challengeHead {
		return nil, ErrNotV2
	}
	// A21: offset and length are the server's word.
	length, offset := int(binary.LittleEndian.Uint16(b[40:])), binary.LittleEndian.Uint32(b[44:])
	if length == 0 {
		return nil, ErrNotV2
	}
	if int64(offset) < challengeHead || int64(offset)+int64(length) > int64(len(b)) {
		return nil, bad("target information of %d bytes at %d, in a message of %d", length, offset, len(b))
	}
	var err error
	if c.info, err = parsePairs(b[offset : int(offset)+length]); err != nil {
		return nil, bad("%v", err)
	}
	return c, nil
}

// The ids of MS-NLMP section 2.2.2.1.
const (
	avEOL            = 0
	avFlags          = 6
	avTimestamp      = 7
	avTargetName     = 9
	avChannelBinding = 10
)

// hasMIC is the bit of avFlags that announces the integrity code.
const hasMIC = 2

// A pair is an AV_PAIR.
type pair struct {
	id    uint16
	value []byte
}

type pairs []pair

func parsePairs(b []byte) (pairs, error) {
	var list pairs
	for len(b) >= 4 {
		id, n := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		b = b[4:]
		if id == avEOL {
			return list, nil
		}
		if n > len(b) {
			return nil, fmt.Errorf("pair %d of %d bytes, where %d are left", id, n, len(b))
		}
		list = append(list, pair{id, b[:n]})
		b = b[n:]
	}
	return nil, fmt.Errorf("target information without end")
}

func (p pairs) encode() []byte {
	var b []byte
	for _, a := range append(p[:len(p):len(p)], pair{avEOL, nil}) {
		b = binary.LittleEndian.AppendUint16(b, a.id)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(a.value)))
		b = append(b, a.value...)
	}
	return b
}

// answerInfo turns the server's target information into ours (MS-NLMP section
// 3.1.5.1.2): what it told, without what is ours to tell, and that. timestamp
// is the server's, 0 if it gave none.
func (c *Client) answerInfo(server pairs) (list pairs, timestamp uint64) {
	var flags uint32
	for _, a := range server {
		switch a.id {
		case avChannelBinding, avTargetName:
			continue
		case avFlags:
			if len(a.value) == 4 {
				flags = binary.LittleEndian.Uint32(a.value)
			}
			continue
		case avTimestamp:
			if len(a.value) == 8 {
				timestamp = binary.LittleEndian.Uint64(a.value)
			}
		}
		list = append(list, a)
	}
	if timestamp != 0 {
		flags |= hasMIC
	}
	if flags != 0 {
		list = append(list, pair{avFlags, binary.LittleEndian.AppendUint32(nil, flags)})
	}
	// Bindings of zeros would say that we can bind and did not (which some
	// servers refuse); no bindings say nothing.
	if len(c.ChannelBinding) > 0 {
		sum := bindingHash(c.ChannelBinding)
		list = append(list, pair{avChannelBinding, sum[:]})
	}
	if c.SPN != "" {
		list = append(list, pair{avTargetName, utf16le(c.SPN)})
	}
	return list, timestamp
}

// bindingHash is the MD5 of a gss_channel_bindings_struct without addresses
// (RFC 2744 section 3.11, laid out as RFC 4121 section 4.1.1.2).
func bindingHash(data []byte) [16]byte {
	b := make([]byte, 16, 20+len(data))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	return md5.Sum(append(b, data...)) //nolint:gosec // as above
}
