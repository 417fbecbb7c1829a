package zonefile

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"port53/internal/wire"
)

// generate makes the records of $GENERATE range owner [ttl] [class] type data: each
// $ stands for the number, ${offset,width,base} for it in another form. Base n
// writes nibbles with dots, the last first, as ip6.arpa wants them.
func (p *parser) generate() error {
	at := p.tokens[0].from()
	if p.options.Generate == 0 {
		return faultf(at, "$GENERATE is switched off: allow it, and how many records it may make, in the configuration")
	}
	t, err := p.take("a range such as 1-254 or 0-30/2")
	if err != nil {
		return err
	}
	start, stop, step, ok := generateRange(string(p.text(t)))
	if !ok {
		return faultf(t.from(), "range %q: expected START-STOP or START-STOP/STEP", p.text(t))
	}
	if len(p.tokens)-p.next > generateTokens || len(p.tokens)-p.next < 3 {
		return faultf(at, "$GENERATE wants an owner, a type and data behind the range")
	}
	if n := (stop-start)/step + 1; n > p.options.Generate-p.generated {
		return faultf(
			t.from(),
			"range of %d would pass the limit of %d records made by $GENERATE: %d are there already",
			n,
			p.options.Generate,
			p.generated,
		)
	}
	// The rest of the entry becomes a line for each number, read as if it stood there.
	var parts []string
	for _, t := range p.tokens[p.next:] {
		text := string(p.text(t))
		if t.is(quoted) {
			text = `"` + text + `"`
		}
		if !t.is(glued) {
			text = " " + text
		}
		parts = append(parts, text)
	}
	template := strings.TrimPrefix(strings.Join(parts, ""), " ")
	outer := p.src
	defer func() { p.src = outer }()
	for made := range (stop-start)/step + 1 {
		n := start + made*step
		line, err := expandTemplate(template, n)
		if err != nil {
			p.src = outer
			return faultf(at, "$GENERATE: %w", err)
		}
		p.generated++
		p.src = &source{
			r:      strings.NewReader(""),
			buf:    append([]byte(line), make([]byte, slack)...),
			end:    len(line),
			eof:    true,
			number: outer.number,
			line:   outer.line,
		}
		p.ownerText = p.ownerText[:0]
		if _, _, _, err = p.scan(p.src); err == nil && len(p.tokens) > 0 {
			p.next = 0
			err = p.entryRecord(false)
		}
		if err == io.EOF || err == nil {
			continue
		}
		p.src = outer
		var f *fault
		if fault, ok := err.(*fault); ok {
			f = faultf(at, "$GENERATE, number %d: %s", n, fault.text)
			return f
		}
		return err
	}
	return nil
}

func generateRange(s string) (start, stop, step int, ok bool) {
	const most = 1<<31 - 2 // such that no count of them passes an int of 32 bits
	s, stepText, hasStep := strings.Cut(s, "/")
	from, to, hasRange := strings.Cut(s, "-")
	if !hasRange {
		return 0, 0, 0, false
	}
	start, err1 := strconv.Atoi(from)
	stop, err2 := strconv.Atoi(to)
	step = 1
	var err3 error
	if hasStep {
		step, err3 = strconv.Atoi(stepText)
	}
	ok = err1 == nil && err2 == nil && err3 == nil && start >= 0 && stop >= start && stop <= most && step > 0 && step <= most
	return start, stop, step, ok
}

// expandTemplate puts n in place of each $.
func expandTemplate(s string, n int) (string, error) {
	var out []byte
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			if s[i+1] != '$' {
				out = append(out, '\\')
			}
			i++
			out = append(out, s[i])
		case s[i] != '$':
			out = append(out, s[i])
		case i+1 < len(s) && s[i+1] == '$':
			out = append(out, '$')
			i++
		case i+1 < len(s) && s[i+1] == '{':
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				return "", fmt.Errorf("%q: brace is not closed", s[i:])
			}
			var err error
			if out, err = appendModified(out, s[i+2:i+end], n); err != nil {
				return "", err
			}
			i += end
		default:
			out = strconv.AppendInt(out, int64(n), 10)
		}
		if len(out) > maxEntry {
			return "", fmt.Errorf("line is longer than %d octets", maxEntry)
		}
	}
	return string(out), nil
}

func appendModified(dst []byte, modifier string, n int) ([]byte, error) {
	parts := strings.Split(modifier, ",")
	offset, width, base := 0, 0, "d"
	var err error
	if len(parts) > 3 {
		return dst, fmt.Errorf("modifier {%s}: expected {offset,width,base}", modifier)
	}
	if offset, err = strconv.Atoi(parts[0]); err != nil {
		return dst, fmt.Errorf("modifier {%s}: %q is no number", modifier, parts[0])
	}
	if len(parts) > 1 {
		if width, err = strconv.Atoi(parts[1]); err != nil || width < 0 || width > wire.MaxName {
			return dst, fmt.Errorf("modifier {%s}: width %q is not within 0 and 255", modifier, parts[1])
		}
	}
	if len(parts) > 2 {
		base = parts[2]
	}
	v := n + offset
	if v < 0 {
		return dst, fmt.Errorf("modifier {%s}: %d is negative", modifier, v)
	}
	switch base {
	case "d":
		return fmt.Appendf(dst, "%0*d", width, v), nil
	case "o":
		return fmt.Appendf(dst, "%0*o", width, v), nil
	case "x":
		return fmt.Appendf(dst, "%0*x", width, v), nil
	case "X":
		return fmt.Appendf(dst, "%0*X", width, v), nil
	case "n", "N":
		// width counts the dots too, and is met even if it ends with one.
		digits := "0123456789abcdef"
		if base == "N" {
			digits = "0123456789ABCDEF"
		}
		for start := len(dst); ; {
			dst = append(dst, digits[v&15])
			if v >>= 4; v == 0 && len(dst)-start >= width {
				return dst, nil
			}
			dst = append(dst, '.')
			if v == 0 && len(dst)-start >= width {
				return dst, nil
			}
		}
	}
	return dst, fmt.Errorf("modifier {%s}: base %q is none of d, o, x, X, n, N", modifier, base)
}
