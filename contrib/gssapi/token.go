package gssapi

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // RFC 4121 section 4.1.1.2 says MD5
	"encoding/asn1"
	"encoding/binary"
	"errors"

	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/types"
)

var (
	oidKerberos   = asn1.ObjectIdentifier{1, 2, 840, 113554, 1, 2, 2}
	oidMSKerberos = asn1.ObjectIdentifier{1, 2, 840, 48018, 1, 2, 2} // of old Windows
	oidSPNEGO     = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 2}
)

// Kinds of context tokens (RFC 4121 section 4.1).
const (
	tokAPReq = "\x01\x00"
	tokAPRep = "\x02\x00"
	tokError = "\x03\x00"
)

var errToken = errors.New("malformed token")

// frame puts a mechanism's name before a token (RFC 2743 section 3.1).
func frame(oid asn1.ObjectIdentifier, body []byte) ([]byte, error) {
	b, err := asn1.Marshal(oid)
	if err != nil {
		return nil, err
	}
	return asn1tools.AddASNAppTag(append(b, body...), 0), nil
}

// unframe takes the name off.
func unframe(token []byte) (asn1.ObjectIdentifier, []byte, error) {
	var outer asn1.RawValue
	rest, err := asn1.Unmarshal(token, &outer)
	if err != nil || len(rest) > 0 || outer.Class != asn1.ClassApplication || outer.Tag != 0 || !outer.IsCompound {
		return nil, nil, errToken
	}
	var oid asn1.ObjectIdentifier
	body, err := asn1.Unmarshal(outer.Bytes, &oid)
	if err != nil {
		return nil, nil, errToken
	}
	return oid, body, nil
}

// The flags of a context (RFC 4121 section 4.1.1.1). Delegation is not among
// them, nor confidentiality: TLS does that.
const contextFlags = flagMutual | flagReplay | flagSequence | flagInteg

const (
	flagMutual   = 2
	flagReplay   = 4
	flagSequence = 8
	flagInteg    = 32
)

// checksum is the authenticator's, which carries channel bindings and flags
// (RFC 4121 section 4.1.1).
func checksum(channelBinding []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, md5.Size)
	if channelBinding == nil {
		b = append(b, make([]byte, md5.Size)...)
	} else {
		// No addresses; the application data with its length.
		data := binary.LittleEndian.AppendUint32(make([]byte, 16), uint32(len(channelBinding))) //nolint:gosec // some dozens
		sum := md5.Sum(append(data, channelBinding...))                                         //nolint:gosec // see above
		b = append(b, sum[:]...)
	}
	return binary.LittleEndian.AppendUint32(b, contextFlags)
}

// Flags of message tokens (RFC 4121 section 4.2.2).
const (
	fromAcceptor   = 1
	sealed         = 2
	acceptorSubkey = 4
)

const tokenHeader = 16

// wrapToken protects a message for integrity (RFC 4121 section 4.2.6.2).
func wrapToken(key types.EncryptionKey, usage uint32, flags byte, seq uint64, message []byte) ([]byte, error) {
	et, err := aes(key.KeyType)
	if err != nil {
		return nil, err
	}
	head := []byte{5, 4, flags, 0xFF, 0, 0, 0, 0}
	head = binary.BigEndian.AppendUint64(head, seq)
	sum, err := et.GetChecksumHash(key.KeyValue, append(append([]byte{}, message...), head...), usage)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint16(head[4:], uint16(len(sum))) //nolint:gosec // some dozens
	return append(append(head, message...), sum...), nil
}

// unwrapToken checks and opens a token. Windows rotates them and may encrypt
// what it need not.
func unwrapToken(key types.EncryptionKey, usage uint32, flags byte, seq uint64, token []byte) ([]byte, error) {
	et, err := aes(key.KeyType)
	if err != nil {
		return nil, err
	}
	if len(token) < tokenHeader || token[0] != 5 || token[1] != 4 || token[3] != 0xFF {
		return nil, errToken
	}
	head := append([]byte{}, token[:tokenHeader]...)
	if head[2]&^sealed != flags {
		return nil, errors.New("the token is not from the other side, or for another key")
	}
	if binary.BigEndian.Uint64(head[8:]) != seq {
		return nil, errors.New("the token is out of sequence")
	}
	ec := int(binary.BigEndian.Uint16(head[4:]))
	body := rotateLeft(token[tokenHeader:], int(binary.BigEndian.Uint16(head[6:])))
	head[6], head[7] = 0, 0 // both checks are over a header that is not rotated
	if head[2]&sealed != 0 {
		plain, err := guard(func() ([]byte, error) { return et.DecryptMessage(key.KeyValue, body, usage) })
		n := len(plain) - tokenHeader - ec
		if err != nil || n < 0 || !hmac.Equal(plain[n+ec:], head) {
			return nil, errors.New("the token fails its check")
		}
		return plain[:n], nil
	}
	head[4], head[5] = 0, 0
	n := len(body) - ec
	if n < 0 {
		return nil, errToken
	}
	sum, err := et.GetChecksumHash(key.KeyValue, append(append([]byte{}, body[:n]...), head...), usage)
	if err != nil || !hmac.Equal(sum, body[n:]) {
		return nil, errors.New("the token fails its check")
	}
	return body[:n], nil
}

// rotateLeft undoes the right rotation of RFC 4121 section 4.2.5.
func rotateLeft(b []byte, n int) []byte {
	if len(b) == 0 {
		return nil
	}
	n %= len(b)
	return append(append([]byte{}, b[n:]...), b[:n]...)
}

// micToken signs a message without holding it (RFC 4121 section 4.2.6.1).
func micToken(key types.EncryptionKey, usage uint32, flags byte, seq uint64, message []byte) ([]byte, error) {
	et, err := aes(key.KeyType)
	if err != nil {
		return nil, err
	}
	head := binary.BigEndian.AppendUint64([]byte{4, 4, flags, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, seq)
	sum, err := et.GetChecksumHash(key.KeyValue, append(append([]byte{}, message...), head...), usage)
	return append(head, sum...), err
}

const (
	usageOurs      = keyusage.GSSAPI_INITIATOR_SEAL
	usageTheirs    = keyusage.GSSAPI_ACCEPTOR_SEAL
	usageOurMIC    = keyusage.GSSAPI_INITIATOR_SIGN
	usageTheirsMIC = keyusage.GSSAPI_ACCEPTOR_SIGN
)
