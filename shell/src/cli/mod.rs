//! temporary
pub mod serve;
use clap::Parser;
#[derive(Debug)]
pub struct Output { json: bool }
impl Output { pub fn is_json(&self)->bool{self.json} pub fn json(&self,v:&serde_json::Value){println!("{v}");} }
#[derive(Debug)]
pub struct CliError{code:u8,message:String,help:Option<String>}
impl CliError{
 pub fn failed(m:String)->Self{Self{code:1,message:m,help:None}}
 pub fn unusable(m:String)->Self{Self{code:4,message:m,help:None}}
 pub fn cannot_listen(a:std::net::SocketAddr,e:&std::io::Error)->Self{Self{code:5,message:format!("cannot listen on {a}: {e}"),help:Some("choose another with --address IP:PORT; port 0 takes a free one".into())}}
 pub fn help(mut self,h:&str)->Self{self.help=Some(h.into());self}
}
#[derive(Parser)]
struct Cli{#[arg(long,global=true)]json:bool,#[command(subcommand)]c:Cmd}
#[derive(clap::Subcommand)]
enum Cmd{Serve(serve::Args)}
pub fn main()->std::process::ExitCode{let c=Cli::parse();let o=Output{json:c.json};match c.c{Cmd::Serve(a)=>match serve::run(&a,&o){Ok(())=>0.into(),Err(e)=>{eprintln!("error: {}",e.message);if let Some(h)=e.help{eprintln!("help: {h}")};e.code.into()}}}}
