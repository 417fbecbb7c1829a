package convert

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of YAML, beyond which the parser takes long.
const (
	maxYAML   = 4 << 20 // bytes
	maxColumn = 256
	maxTokens = 500_000
	maxBlock  = 2000 // keys of one block
)

// yamlTree reads YAML as statements: a key with its value, with the values of its list, or with
// a block. An item of a list that is a block is a statement called -.
func yamlTree(path, text string) (*stmt, error) {
	if len(text) > maxYAML {
		return nil, fmt.Errorf("%s: more than %d bytes of YAML", Printable(path), maxYAML)
	}
	tokens := lexer.Tokenize(text)
	for _, t := range tokens {
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType, token.TagType:
			return nil, tokenWord(path, t).fail("anchors, aliases and tags are not read")
		}
	}
	if t := tooLong(tokens); t != nil {
		return nil, tokenWord(path, t).fail("larger, or nested deeper, than any configuration is")
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return nil, word{file: path, line: 1, col: 1}.fail("it is no YAML: %.200v", err)
	}
	root := &stmt{words: []word{{file: path, line: 1, col: 1}}}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			yamlNode(path, root, doc.Body, 0)
		}
	}
	return root, nil
}

func tokenWord(path string, t *token.Token) word {
	return word{file: path, line: t.Position.Line, col: t.Position.Column}
}

// tooLong returns where the parser would take long: in brackets within brackets, in a block
// that begins far to the right, and in a block of many keys, whose time grows with their square.
func tooLong(tokens token.Tokens) *token.Token {
	depth := 0
	keys := map[int]int{} // in the block that is open at a column, or at a depth of brackets
	for i, t := range tokens {
		column := -depth
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
			keys[-depth] = 0
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType:
			if depth == 0 && t.Position.Column > maxColumn {
				return t
			}
		case token.MappingValueType:
			if depth == 0 && t.Prev != nil {
				column = t.Prev.Position.Column
				for c := range keys {
					if c > column {
						delete(keys, c)
					}
				}
			}
			keys[column]++
		}
		if depth > maxDepth || i > maxTokens || keys[column] > maxBlock || column > maxColumn {
			return t
		}
	}
	return nil
}

func yamlWord(path string, n ast.Node) word {
	w := word{file: path, line: 1, col: 1}
	if t := n.GetToken(); t != nil {
		w.text = t.Value
		if t.Position != nil {
			w.line, w.col = t.Position.Line, t.Position.Column
		}
	}
	switch n := n.(type) {
	case *ast.NullNode:
		w.text = ""
	case *ast.LiteralNode:
		w.text = n.Value.Value
	}
	return w
}

// yamlNode puts a node below a statement.
func yamlNode(path string, in *stmt, n ast.Node, depth int) {
	if depth > maxDepth {
		return
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			yamlNode(path, in, v, depth+1)
		}
	case *ast.MappingValueNode:
		s := &stmt{words: []word{yamlWord(path, n.Key)}}
		in.block = append(in.block, s)
		if n.Value != nil {
			yamlNode(path, s, n.Value, depth+1)
		}
	case *ast.SequenceNode:
		for _, v := range n.Values {
			switch v.(type) {
			case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
				w := yamlWord(path, v)
				w.text = "-"
				s := &stmt{words: []word{w}}
				in.block = append(in.block, s)
				yamlNode(path, s, v, depth+1)
			default:
				in.words = append(in.words, yamlWord(path, v))
			}
		}
	case ast.ScalarNode:
		in.words = append(in.words, yamlWord(path, n))
	}
}

// at returns the statement at a path of keys, or an empty one.
func (s *stmt) at(path ...string) *stmt {
	for _, p := range path {
		if s = find(s.block, p); s == nil {
			return &stmt{}
		}
	}
	return s
}
