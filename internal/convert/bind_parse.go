package convert

import (
	"path/filepath"
	"strings"
)

// bindWords splits a named.conf: comments are #, // and /* */.
func bindWords(file, text string) ([]word, error) {
	var out []word
	line, start := 1, 0
	for i := 0; i < len(text); {
		at := word{file: file, line: line, col: i - start + 1}
		rest := text[i:]
		switch ch := text[i]; {
		case ch == '\n':
			i++
			line, start = line+1, i
		case ch == ' ' || ch == '\t' || ch == '\r':
			i++
		case ch == '#' || strings.HasPrefix(rest, "//"):
			if n := strings.IndexByte(rest, '\n'); n >= 0 {
				i += n
			} else {
				i = len(text)
			}
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				return nil, at.fail("a comment without an end")
			}
			if l := strings.Count(rest[:n+4], "\n"); l > 0 {
				line, start = line+l, i+strings.LastIndexByte(rest[:n+4], '\n')+1
			}
			i += n + 4
		case ch == '"':
			var n int
			var ok bool
			if at.text, n, ok = bindString(rest); !ok {
				return nil, at.fail("a string without an end")
			}
			at.quoted = true
			out = append(out, at)
			i += n
		case strings.IndexByte("{};!", ch) >= 0:
			at.text = string(ch)
			out = append(out, at)
			i++
		default:
			n := strings.IndexAny(rest, " \t\r\n{};\"#")
			if n < 0 {
				n = len(rest)
			}
			at.text = rest[:n]
			out = append(out, at)
			i += n
		}
	}
	return out, nil
}

// bindString reads a string in quotes, in which a backslash escapes a quote, and returns
// how long it is in the file.
func bindString(text string) (value string, n int, ok bool) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch ch := text[i]; {
		case ch == '"':
			return b.String(), i + 1, true
		case ch == '\n':
			return "", 0, false
		case ch == '\\' && i+1 < len(text) && text[i+1] == '"':
			i++
			b.WriteByte('"')
		default:
			b.WriteByte(ch)
		}
	}
	return "", 0, false
}

// bindBlock reads statements until the } of the block, or the end at depth 0.
func bindBlock(words []word, depth int) (block []*stmt, rest []word, err error) {
	s := &stmt{}
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w.quoted:
			s.words = append(s.words, w)
		case w.text == ";":
			if len(s.words)+len(s.block) > 0 {
				block = append(block, s)
			}
			s = &stmt{}
		case w.text == "{":
			if depth == maxDepth {
				return nil, nil, w.fail("more than %d blocks within each other", maxDepth)
			}
			inner, after, err := bindBlock(words[i+1:], depth+1)
			if err != nil {
				return nil, nil, err
			}
			if len(after) == 0 {
				return nil, nil, w.fail("a { without its }")
			}
			s.block = append(s.block, inner...)
			words, i = after, 0 // the } itself
		case w.text == "}":
			if depth == 0 {
				return nil, nil, w.fail("a } without its {")
			}
			if len(s.words)+len(s.block) > 0 {
				return nil, nil, w.fail("a ; is missing before }")
			}
			return block, words[i:], nil
		default:
			s.words = append(s.words, w)
		}
	}
	if len(s.words) > 0 {
		return nil, nil, s.words[0].fail("a ; is missing after %s", s.words[0].text)
	}
	return block, nil, nil
}

// bindFile reads a file and what it includes.
func (c *converter) bindFile(path string, from *word) ([]*stmt, error) {
	text, err := c.readFile(path, from)
	if err != nil {
		return nil, err
	}
	words, err := bindWords(path, text)
	if err != nil {
		return nil, err
	}
	block, _, err := bindBlock(words, 0)
	if err != nil {
		return nil, err
	}
	return c.bindIncludes(block, filepath.Dir(path))
}

func (c *converter) bindIncludes(block []*stmt, dir string) ([]*stmt, error) {
	var out []*stmt
	for _, s := range block {
		if s.name() != "include" || len(s.words) != 2 {
			inner, err := c.bindIncludes(s.block, dir)
			if err != nil {
				return nil, err
			}
			s.block = inner
			out = append(out, s)
			continue
		}
		c.note(s, Converted, "")
		file := s.arg(1)
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		files, _ := filepath.Glob(file)
		if len(files) == 0 {
			return nil, s.words[1].fail("there is no file %s", file)
		}
		for _, f := range files {
			more, err := c.bindFile(f, &s.words[1])
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	}
	return out, nil
}
