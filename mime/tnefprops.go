package mime

import (
	"bytes"
	"io"
	"strings"
)

// maxTNEFText bounds names and other short values.
const maxTNEFText = 4096

// The types of MAPI properties (MS-OXCDATA 2.11.1).
const (
	mapiShort   = 0x0002
	mapiDouble  = 0x0005
	mapiMoney   = 0x0006
	mapiAppTime = 0x0007
	mapiObject  = 0x000d
	mapiLong    = 0x0014
	mapiString8 = 0x001e
	mapiString  = 0x001f
	mapiTime    = 0x0040
	mapiGUID    = 0x0048
	mapiBinary  = 0x0102
	mapiMulti   = 0x1000
)

// The properties that are used (MS-OXPROPS).
const (
	propBody         = 0x1000
	propRTF          = 0x1009
	propHTML         = 0x1013
	propAttachData   = 0x3701
	propAttachName   = 0x3704
	propAttachLong   = 0x3707
	propAttachType   = 0x370e
	propAttachID     = 0x3712
	propDisplayName  = 0x3001
	firstNamedProp   = 0x8000
	oleObjectIDBytes = 16
)

// props reads a list of MAPI properties (MS-OXTNEF 2.1.3.4) of the message or
// of the current attachment.
func (l *tnefLevel) props(ofFile bool) error {
	count, err := l.s.number(4)
	if err != nil {
		return err
	}
	for ; count > 0 && l.s.n > 0; count-- {
		tag, err := l.s.number(4)
		if err != nil {
			return err
		}
		typ, id := tag&0xffff, tag>>16
		if id >= firstNamedProp {
			if err := l.propName(); err != nil {
				return err
			}
		}
		if err := l.prop(ofFile, typ, id); err != nil {
			return err
		}
	}
	return nil
}

// propName passes over the name of a named property.
func (l *tnefLevel) propName() error {
	if err := l.s.skip(16); err != nil {
		return err
	}
	kind, err := l.s.number(4)
	if err != nil {
		return err
	}
	n, err := l.s.number(4)
	if err != nil || kind == 0 { // then n is the id
		return err
	}
	return l.s.skip(padded(int64(n)))
}

func padded(n int64) int64 { return (n + 3) &^ 3 }

func (l *tnefLevel) prop(ofFile bool, typ, id uint32) error {
	size := int64(4)
	switch typ &^ mapiMulti {
	case mapiDouble, mapiMoney, mapiAppTime, mapiLong, mapiTime:
		size = 8
	case mapiGUID:
		size = 16
	case mapiString8, mapiString, mapiBinary, mapiObject:
		return l.values(ofFile, typ, id)
	}
	if typ&mapiMulti != 0 {
		count, err := l.s.number(4)
		if err != nil {
			return err
		}
		return l.s.skip(size * int64(count))
	}
	return l.s.skip(size)
}

// values reads the values of a property of variable length.
func (l *tnefLevel) values(ofFile bool, typ, id uint32) error {
	count, err := l.s.number(4)
	if err != nil {
		return err
	}
	for ; count > 0; count-- {
		n, err := l.s.number(4)
		if err != nil {
			return err
		}
		use := func() error { return l.bodyValue(typ, id, int64(n)) }
		if ofFile {
			use = func() error { return l.fileValue(typ, id, int64(n)) }
		}
		if err := l.s.frame(int64(n), use); err != nil {
			return err
		}
		// The padding of the last value may be cut off.
		if err := l.s.skip(min(padded(int64(n))-int64(n), l.s.n)); err != nil {
			return err
		}
	}
	return nil
}

// bodyValue uses a property of the message.
func (l *tnefLevel) bodyValue(typ, id uint32, n int64) error {
	charset, zero := l.charset, 1
	if typ == mapiString {
		charset, zero = "utf-16le", 2
	} else if typ == mapiBinary {
		zero = 0
	}
	switch {
	case n == 0:
	case id == propBody:
		return l.body("text/plain", charset, n, zero)
	case id == propHTML:
		l.hasHTML = true
		if head, _ := l.s.r.Peek(int(min(n, 1024))); typ != mapiString {
			if own := metaCharset(head); own != "" {
				charset = own
			}
		}
		return l.body("text/html", charset, n, zero)
	case id == propRTF && n <= maxTNEFRTF:
		var err error
		l.rtf, err = l.s.bytes(n, maxTNEFRTF)
		return err
	case id == propRTF:
		return l.rtfBody(frameReader{l.s})
	}
	return nil
}

// fileValue uses a property of an attachment.
func (l *tnefLevel) fileValue(typ, id uint32, n int64) error {
	switch id {
	case propAttachLong, propAttachName, propAttachType, propAttachID, propDisplayName:
	case propAttachData:
		if n > oleObjectIDBytes && typ == mapiObject {
			if err := l.s.skip(oleObjectIDBytes); err != nil {
				return err
			}
			n -= oleObjectIDBytes
			if head, err := l.s.r.Peek(4); err == nil && string(head) == "\x78\x9f\x3e\x22" && n > 6 {
				return l.message()
			}
		}
		if l.file != nil && l.file.part != nil && l.file.part.Size > 0 {
			return nil // the data was there already
		}
		return l.fileData(n)
	default:
		return nil
	}
	raw, err := l.s.bytes(n, maxTNEFText)
	if err != nil {
		return err
	}
	text := l.string8(raw)
	if typ == mapiString {
		text = strings.TrimRight(decodeCharset(raw, "utf-16le"), "\x00")
	}
	text = cleanParam(text)
	f, err := l.needFile()
	if err != nil || text == "" {
		return err
	}
	switch id {
	case propAttachLong:
		f.part.Name = text
	case propAttachName, propDisplayName:
		if f.part.Name == "" {
			f.part.Name = text
		}
	case propAttachType:
		if t := strings.ToLower(text); isMediaType(t) && !strings.HasPrefix(t, "multipart/") {
			f.part.Type = t
		}
	case propAttachID:
		f.part.ContentID = cleanID(text)
	}
	return nil
}

// message expands a message attached to the message.
func (l *tnefLevel) message() error {
	f, err := l.needFile()
	if err != nil {
		return err
	}
	if f.w != nil { // what came before was a stand-in for the message
		if err := l.closeFile(); err != nil {
			return err
		}
		if f, err = l.needFile(); err != nil {
			return err
		}
	}
	part := f.part
	f.ended = true // what is still to come is its name
	part.Type, part.tnef = "application/ms-tnef", true
	w, err := l.p.beginPart(part)
	switch {
	case err != nil:
		return err
	case w != nil:
		err = l.s.each(l.s.n, func(b []byte) error { return l.p.write(part, w, b) })
	default:
		err = l.stream(part, l.depth+1)
	}
	if err != nil && !isTorn(err) {
		return err
	}
	return worse(err, l.p.endPart(part))
}

// metaCharset finds the charset that HTML names itself, in its first lines.
func metaCharset(head []byte) string {
	low := bytes.ToLower(head)
	i := bytes.Index(low, []byte("charset="))
	if i < 0 || bytes.LastIndex(low[:i], []byte("<meta")) < 0 {
		return ""
	}
	name := bytes.TrimLeft(low[i+len("charset="):], "\"' ")
	if k := bytes.IndexAny(name, "\"' />;\r\n"); k >= 0 {
		name = name[:k]
	}
	if _, _, known := findCharset(string(name)); !known || len(name) == 0 {
		return ""
	}
	return string(name)
}

func (l *tnefLevel) string8(raw []byte) string {
	return cleanParam(strings.TrimRight(decodeCharset(raw, l.charset), "\x00"))
}

// A frameReader reads the rest of the current frame.
type frameReader struct{ s *tnefSource }

func (f frameReader) Read(p []byte) (int, error) {
	if f.s.n == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), f.s.n, 512))
	if buffered := f.s.r.Buffered(); buffered > 0 {
		n = min(n, buffered)
	}
	b, err := f.s.take(n)
	return copy(p, b), err
}
