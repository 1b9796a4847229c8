//! Puts all mutants of a file into it at once, each behind a switch that is off unless the environment says otherwise.
//!
//! An operand stands in the woven text once, wherever that can be: `a == b` becomes `((a) == (b)) != on(7)`, and not an `if` with
//! both in it twice, or the text of nested operators would double with each of them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;

use anyhow::{Context, Result};
use proc_macro2::LineColumn;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::list::{Genre, Mutant, byte_of};

/// A file with its mutants.
pub struct Woven {
    /// The file.
    pub text: String,
    /// Which mutants are in it.
    pub numbers: Vec<u32>,
}

/// Weaves `mutants`, with their numbers, into `text`. Those in constants and of kinds that have no switch are left out.
pub fn weave(text: &str, mutants: &[(u32, &Mutant)]) -> Result<Woven> {
    let file = syn::parse_file(text).context("parsing")?;
    let mut sites: BTreeMap<usize, Vec<(u32, &Mutant)>> = BTreeMap::new();
    for (number, mutant) in mutants {
        sites.entry(byte_of(text, mutant.span[0])?).or_default().push((*number, mutant));
    }
    let mut weaver = Weaver { text, sites, edits: Vec::new(), numbers: Vec::new() };
    weaver.visit_file(&file);
    let Weaver { mut edits, mut numbers, .. } = weaver;
    // The outer ones first, and what is inserted before what begins there.
    edits.sort_by_key(|edit| (edit.range.start, !edit.range.is_empty(), usize::MAX - edit.range.end));
    let mut woven = String::new();
    render(text, &edits, 0..text.len(), &mut woven);
    numbers.sort_unstable();
    Ok(Woven { text: woven, numbers })
}

/// The numbers of the mutants whose text is around a byte of a woven file: of the innermost that has any.
pub fn at(woven: &str, byte: usize) -> Vec<u32> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = 0;
    while let Some(found) = woven[rest..].find("/*m").map(|found| rest + found) {
        if found > byte {
            break;
        }
        let Some(end) = woven[found..].find("*/").map(|end| found + end) else { break };
        match &woven[found + 3..end] {
            "." => drop(open.pop()),
            numbers => open.push(numbers),
        }
        rest = end;
    }
    let numbers = open.pop().unwrap_or_default();
    numbers.split(',').filter_map(|number| number.parse().ok()).collect()
}

struct Weaver<'a> {
    text: &'a str,
    /// What is mutated at a byte, and has not been woven yet.
    sites: BTreeMap<usize, Vec<(u32, &'a Mutant)>>,
    edits: Vec<Edit>,
    numbers: Vec<u32>,
}

struct Edit {
    range: Range<usize>,
    pieces: Vec<Piece>,
}

enum Piece {
    Text(String),
    Source(Range<usize>),
}

impl<'a> Weaver<'a> {
    fn range(&self, node: &impl Spanned) -> Range<usize> {
        let span = node.span();
        let byte = |place: LineColumn| byte_of(self.text, (place.line, place.column + 1)).unwrap_or(self.text.len());
        byte(span.start())..byte(span.end())
    }

    /// The mutants of these kinds that begin at a byte.
    fn take(&mut self, byte: usize, genre: Genre) -> Vec<(u32, &'a Mutant)> {
        let Some(site) = self.sites.get_mut(&byte) else { return Vec::new() };
        let taken: Vec<_> = site.extract_if(.., |(_, mutant)| mutant.genre == genre).collect();
        self.numbers.extend(taken.iter().map(|(number, _)| *number));
        taken
    }

    fn edit(&mut self, range: Range<usize>, mutants: &[(u32, &Mutant)], pieces: impl IntoIterator<Item = Piece>) {
        let numbers: Vec<String> = mutants.iter().map(|(number, _)| number.to_string()).collect();
        let open = Piece::Text(format!("/*m{}*/", numbers.join(",")));
        let pieces = [open].into_iter().chain(pieces).chain([Piece::Text("/*m.*/".to_owned())]).collect();
        self.edits.push(Edit { range, pieces });
    }

    fn body(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let Some(first) = block.stmts.first() else { return };
        // Of a type without a name, all that is returned has to be the same.
        if self.text[self.range(&signature.output)].contains("impl ") {
            return;
        }
        let start = self.range(first).start;
        let mutants = self.take(start, Genre::FnValue);
        if mutants.is_empty() {
            return;
        }
        let mut text = String::new();
        for (number, mutant) in &mutants {
            let _ = write!(text, "if {ON}({number}) {{ return /*m{number}*/{}/*m.*/; }} ", mutant.replacement);
        }
        self.edit(start..start, &mutants, [Piece::Text(text)]);
    }

    fn binary(&mut self, node: &syn::ExprBinary) {
        use syn::BinOp::{Add, And, BitAnd, BitOr, BitXor, Div, Eq, Ge, Gt, Le, Lt, Mul, Ne, Or, Rem, Shl, Shr, Sub};
        let operator = self.range(&node.op);
        if matches!(node.op, And(_) | Or(_)) && (has_let(&node.left) || has_let(&node.right)) {
            return;
        }
        let mutants = self.take(operator.start, Genre::BinaryOperator);
        if mutants.is_empty() {
            return;
        }
        let (whole, left, right) = (self.range(node), self.range(&*node.left), self.range(&*node.right));
        let is = &self.text[operator];
        let text = |text: String| Piece::Text(text);
        let pieces = match node.op {
            Eq(_) | Ne(_) => {
                let on = any_on(&mutants);
                let parts = [text("((".into()), Piece::Source(left), text(format!(") {is} (")), Piece::Source(right)];
                parts.into_iter().chain([text(format!(")) != {on}"))]).collect()
            }
            And(_) | Or(_) => {
                // What the left one holds is given back before the right one is asked.
                let mut pieces = vec![text("{ let l: bool = ".into()), Piece::Source(left), text("; ".into())];
                for (number, mutant) in &mutants {
                    pieces.push(text(format!("if {ON}({number}) {{ /*m{number}*/l {} (", mutant.replacement)));
                    pieces.push(Piece::Source(right.clone()));
                    pieces.push(text(")/*m.*/ } else ".into()));
                }
                pieces.extend([text(format!("{{ l {is} (")), Piece::Source(right), text(") } }".into())]);
                pieces
            }
            Lt(_) | Le(_) | Gt(_) | Ge(_) | Add(_) | Sub(_) | Mul(_) | Div(_) | Rem(_) | BitAnd(_) | BitOr(_)
            | BitXor(_) | Shl(_) | Shr(_) => {
                let by = if matches!(node.op, Lt(_) | Le(_) | Gt(_) | Ge(_)) { "&" } else { "" };
                let between = text(format!("), {by}("));
                let mut pieces =
                    vec![text(format!("match ({by}(")), Piece::Source(left), between, Piece::Source(right)];
                let mut rest = ")) { (l, r) => ".to_owned();
                for (number, mutant) in &mutants {
                    let _ = write!(rest, "if {ON}({number}) {{ /*m{number}*/l {} r/*m.*/ }} else ", mutant.replacement);
                }
                pieces.push(text(format!("{rest}{{ l {is} r }} }}")));
                pieces
            }
            _ => {
                let mut pieces: Vec<Piece> = Vec::new();
                for (number, mutant) in &mutants {
                    pieces.push(text(format!("if {ON}({number}) {{ /*m{number}*/")));
                    pieces.push(Piece::Source(left.clone()));
                    pieces.push(text(format!(" {} ", mutant.replacement)));
                    pieces.extend([Piece::Source(right.clone()), text("/*m.*/ } else ".into())]);
                }
                pieces.extend([text("{ ".into()), Piece::Source(left), text(format!(" {is} "))]);
                pieces.extend([Piece::Source(right), text(" }".into())]);
                return self.edit(whole, &mutants, pieces);
            }
        };
        let pieces: Vec<Piece> = pieces;
        let around = [text("(".into())].into_iter().chain(pieces).chain([text(")".into())]);
        self.edit(whole, &mutants, around);
    }

    fn unary(&mut self, node: &syn::ExprUnary) {
        let whole = self.range(node);
        let mutants = self.take(whole.start, Genre::UnaryOperator);
        if mutants.is_empty() {
            return;
        }
        let value = Piece::Source(self.range(&*node.expr));
        let on = any_on(&mutants);
        let pieces = match node.op {
            syn::UnOp::Not(_) => vec![Piece::Text("((!(".into()), value, Piece::Text(format!(")) != {on})"))],
            _ => {
                let again = Piece::Source(self.range(&*node.expr));
                let between = Piece::Text(") } else { -(".into());
                vec![Piece::Text(format!("(if {on} {{ (")), value, between, again, Piece::Text(") })".into())]
            }
        };
        self.edit(whole, &mutants, pieces);
    }

    fn arm(&mut self, arm: &syn::Arm) {
        let start = self.range(arm).start;
        let deleted = self.take(start, Genre::MatchArm);
        let is_there = deleted.iter().fold(String::new(), |text, (number, _)| format!("{text}!{ON}({number}) && "));
        match &arm.guard {
            Some((_, guard)) if !has_let(guard) => {
                let range = self.range(&**guard);
                let guards = self.take(range.start, Genre::MatchArmGuard);
                if deleted.is_empty() && guards.is_empty() {
                    return;
                }
                let (mut met, mut may) = (String::new(), String::new());
                for (number, mutant) in &guards {
                    match &*mutant.replacement {
                        "true" => met += &format!("{ON}({number}) || "),
                        _ => may += &format!("!{ON}({number}) && "),
                    }
                }
                let all: Vec<_> = deleted.into_iter().chain(guards).collect();
                let before = Piece::Text(format!("({is_there}({met}({may}("));
                self.edit(range.clone(), &all, [before, Piece::Source(range), Piece::Text("))))".into())]);
            }
            Some(_) => {}
            None if deleted.is_empty() => {}
            None => {
                let end = self.range(&arm.pat).end;
                let text = format!(" if {}", is_there.trim_end_matches(" && "));
                self.edit(end..end, &deleted, [Piece::Text(text)]);
            }
        }
    }
}

/// Whether one of these is on.
fn any_on(mutants: &[(u32, &Mutant)]) -> String {
    let on: Vec<String> = mutants.iter().map(|(number, _)| format!("{ON}({number})")).collect();
    format!("({})", on.join(" || "))
}

/// Whether a pattern binds something in a condition, which it cannot do elsewhere.
fn has_let(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        syn::Expr::Paren(inner) => has_let(&inner.expr),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Weaver<'_> {
    fn visit_item_fn(&mut self, node: &'ast syn::ItemFn) {
        if node.sig.constness.is_none() {
            self.body(&node.sig, &node.block);
            visit::visit_item_fn(self, node);
        }
    }

    fn visit_impl_item_fn(&mut self, node: &'ast syn::ImplItemFn) {
        if node.sig.constness.is_none() {
            self.body(&node.sig, &node.block);
            visit::visit_impl_item_fn(self, node);
        }
    }

    fn visit_trait_item_fn(&mut self, node: &'ast syn::TraitItemFn) {
        if let Some(block) = node.default.as_ref().filter(|_| node.sig.constness.is_none()) {
            self.body(&node.sig, block);
            visit::visit_trait_item_fn(self, node);
        }
    }

    fn visit_expr_binary(&mut self, node: &'ast syn::ExprBinary) {
        self.binary(node);
        visit::visit_expr_binary(self, node);
    }

    fn visit_expr_unary(&mut self, node: &'ast syn::ExprUnary) {
        self.unary(node);
        visit::visit_expr_unary(self, node);
    }

    fn visit_expr_match(&mut self, node: &'ast syn::ExprMatch) {
        // An arm with a guard covers nothing, so an arm can be switched off only where another one takes all that is left. Without
        // that, cargo-mutants takes `_ if ..` for one, and the compiler blames the whole match.
        let takes_the_rest = |arm: &syn::Arm| arm.guard.is_none() && matches!(arm.pat, syn::Pat::Wild(_));
        if !node.arms.iter().any(takes_the_rest) {
            for arm in &node.arms {
                let start = self.range(arm).start;
                if let Some(site) = self.sites.get_mut(&start) {
                    site.retain(|(_, mutant)| mutant.genre != Genre::MatchArm);
                }
            }
        }
        visit::visit_expr_match(self, node);
    }

    fn visit_arm(&mut self, node: &'ast syn::Arm) {
        self.arm(node);
        visit::visit_arm(self, node);
    }

    // What is computed by the compiler has no switches.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_type(&mut self, _: &'ast syn::Type) {}
    fn visit_variant(&mut self, _: &'ast syn::Variant) {}
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

/// Renders what is in `range`, with the edits in it. `edits` are in order, the outer ones first.
fn render(text: &str, edits: &[Edit], range: Range<usize>, woven: &mut String) {
    let mut place = range.start;
    for (index, edit) in edits.iter().enumerate() {
        let is_inside = edit.range.start >= place && edit.range.end <= range.end;
        if !is_inside {
            continue;
        }
        woven.push_str(&text[place..edit.range.start]);
        for piece in &edit.pieces {
            match piece {
                Piece::Text(text) => woven.push_str(text),
                // Its own edit stands before, so that it is not met again.
                Piece::Source(source) => render(text, &edits[index + 1..], source.clone(), woven),
            }
        }
        place = edit.range.end;
    }
    woven.push_str(&text[place..range.end]);
}

const ON: &str = "crate::mutant_switch::on";

#[cfg(test)]
mod tests;
