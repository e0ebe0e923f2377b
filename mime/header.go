package mime

import (
	"iter"
	"strings"
	"time"
)

// A Field is one header field: its name as it was written and its value,
// unfolded and trimmed but not decoded.
type Field struct{ Name, Value string }

// A Header is the header of a message or part: its fields in their order,
// duplicates kept. The zero value is an empty header. Names are compared
// without regard to case. A Header never changes and may be shared among
// goroutines.
type Header struct {
	raw    string
	fields []fieldPos
	// charset is what the body declares; it heals 8-bit fields (RFC 5322 has
	// no place for them, senders write them all the same).
	charset string
}

// fieldPos tells where a field stands in raw. A header is at most 2 GiB long.
type fieldPos struct{ start, nameEnd, value, end uint32 }

// Len is the number of fields.
func (h Header) Len() int { return len(h.fields) }

// Raw is the whole header as it stood, folding and line ends included, without
// the empty line after it.
func (h Header) Raw() []byte { return []byte(h.raw) }

// Fields yields the fields in their order.
func (h Header) Fields() iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for _, f := range h.fields {
			if !yield(Field{h.raw[f.start:f.nameEnd], unfold(h.raw[f.value:f.end])}) {
				return
			}
		}
	}
}

// Get gives the value of the first field of that name, unfolded and not
// decoded, or "".
func (h Header) Get(name string) string {
	for _, f := range h.fields {
		if h.is(f, name) {
			return unfold(h.raw[f.value:f.end])
		}
	}
	return ""
}

// Values gives the values of all fields of that name, as Get.
func (h Header) Values(name string) []string {
	var all []string
	for _, f := range h.fields {
		if h.is(f, name) {
			all = append(all, unfold(h.raw[f.value:f.end]))
		}
	}
	return all
}

// Has reports whether there is a field of that name.
func (h Header) Has(name string) bool {
	for _, f := range h.fields {
		if h.is(f, name) {
			return true
		}
	}
	return false
}

// Text gives the first field of that name for reading: encoded words decoded
// (RFC 2047), 8-bit bytes made UTF-8, control characters replaced by blanks. So
// it is one line of valid UTF-8 and can't inject a field wherever it is used.
func (h Header) Text(name string) string { return decodeText(h.Get(name), h.charset) }

// Addresses gives the mailboxes of all fields of that name, groups flattened.
// What is no address is left out; ParseAddressList tells what was wrong.
func (h Header) Addresses(name string) []Address {
	var all []Address
	for _, f := range h.fields {
		if h.is(f, name) {
			list, _ := parseAddresses(unfold(h.raw[f.value:f.end]), h.charset)
			if all == nil {
				all = list
			} else {
				all = append(all, list...)
			}
		}
	}
	return all
}

// Date gives the time in the first field of that name; false if it is missing
// or can't be read. Obsolete and common wrong forms are understood; without a
// zone the time is taken as UTC (RFC 5322 4.3).
func (h Header) Date(name string) (time.Time, bool) { return ParseDate(h.Get(name)) }

// MessageIDs gives the message ids in all fields of that name, without angle
// brackets, e.g. of References.
func (h Header) MessageIDs(name string) []string {
	var all []string
	for _, f := range h.fields {
		if h.is(f, name) {
			all = appendMessageIDs(all, unfold(h.raw[f.value:f.end]))
		}
	}
	return all
}

func (h Header) is(f fieldPos, name string) bool {
	return int(f.nameEnd-f.start) == len(name) && strings.EqualFold(h.raw[f.start:f.nameEnd], name)
}

// unfold removes the line ends of a folded value (RFC 5322 2.2.3) and the
// blanks around it.
func unfold(v string) string {
	v = strings.Trim(v, " \t\r\n")
	if strings.IndexByte(v, '\n') < 0 {
		if strings.IndexByte(v, '\r') < 0 {
			return v
		}
		return strings.ReplaceAll(v, "\r", " ")
	}
	var b strings.Builder
	b.Grow(len(v))
	for v != "" {
		i := strings.IndexByte(v, '\n')
		if i < 0 {
			b.WriteString(v)
			break
		}
		b.WriteString(strings.TrimSuffix(v[:i], "\r"))
		v = v[i+1:]
	}
	// A CR alone is no line end here, but might be one elsewhere.
	return strings.ReplaceAll(b.String(), "\r", " ")
}

// appendMessageIDs finds "<...>" in s; a value without brackets is cut at
// blanks, as senders without brackets mean it.
func appendMessageIDs(ids []string, s string) []string {
	n := len(ids)
	for rest := s; ; {
		i := strings.IndexByte(rest, '<')
		if i < 0 {
			break
		}
		rest = rest[i+1:]
		j := strings.IndexAny(rest, "<>")
		if j < 0 {
			break
		}
		if rest[j] == '<' { // an unclosed bracket: begin again at the next one
			rest = rest[j:]
			continue
		}
		if id := cleanID(rest[:j]); id != "" {
			ids = append(ids, id)
		}
		rest = rest[j+1:]
	}
	if len(ids) > n {
		return ids
	}
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' }) {
		if w = cleanID(strings.Trim(w, "<>")); w != "" {
			ids = append(ids, w)
		}
	}
	return ids
}

// cleanID drops what no id may hold, so that an id can be written into a new
// header as it is.
func cleanID(s string) string {
	clean := func(r rune) rune {
		if r <= ' ' || r == 0x7f || r == '<' || r == '>' {
			return -1
		}
		return r
	}
	return strings.Map(clean, strings.ToValidUTF8(s, "\uFFFD"))
}
