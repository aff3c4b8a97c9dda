<#
.SYNOPSIS
Installs gatelet as a Windows service, or upgrades an installed one.

.DESCRIPTION
Run it in an elevated PowerShell (5.1 or later), with gatelet.exe in the same directory:

    powershell -ExecutionPolicy Bypass -File .\install.ps1
    powershell -ExecutionPolicy Bypass -File .\install.ps1 -Bind lan

Copies gatelet.exe to %ProgramFiles%\gatelet and adds that to PATH, creates the service "gatelet"
(delayed automatic start, account NT SERVICE\gatelet without privileges), starts it, and prints the
link to open. Its state is in %ProgramData%\gatelet, which only SYSTEM, administrators, the service
and -Owner can read. A second run replaces the program and keeps the state; without -Port and -Bind
it also keeps these and the firewall rule.

.PARAMETER Port
Port to listen on. Default: 18789 if -Bind opens the firewall, else the port in the configuration
(gatelet.json in the state directory). A later run with only one of -Port and -Bind resets the other.

.PARAMETER Bind
loopback (only this machine), lan, tailnet or auto. All but loopback add a firewall rule for private
networks.

.PARAMETER Owner
Account that may use "gatelet devices" and the other commands without elevation. Default: the account
that runs this script. Needed if PowerShell was elevated with the password of a different account.

.PARAMETER Exe
Program to install.
#>
[CmdletBinding()]
param(
    [ValidateRange(1, 65535)] [int] $Port,
    [ValidateSet('loopback', 'lan', 'tailnet', 'auto')] [string] $Bind,
    [string] $Owner,
    [string] $Exe = (Join-Path $PSScriptRoot 'gatelet.exe')
)
Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'

$service = 'gatelet'
$folder = Join-Path $env:ProgramFiles 'gatelet'
$program = Join-Path $folder 'gatelet.exe'
$state = Join-Path $env:ProgramData 'gatelet'
$systemSid = 'S-1-5-18'
$administratorsSid = 'S-1-5-32-544'

function Main {
    Assert-Elevated
    $ownerSid = Get-OwnerSid
    Assert-GoodProgram
    Assert-OurState
    Stop-Old
    Copy-Program
    Set-ServiceEntry
    Set-State $ownerSid
    Set-Firewall
    Add-ToPath
    Start-New
    Write-Host ''
    Invoke-Native $program @('url', '--state-dir', $state)
    Write-Host ''
    Write-Host "Running as service $service; the log is $(Join-Path $state 'gatelet.log')."
    Write-Host 'In a new terminal: gatelet devices, gatelet pair, gatelet url. To remove it: uninstall.ps1'
    $own = Join-Path $env:LOCALAPPDATA 'gatelet'
    if (Test-Path -LiteralPath $own) {
        Write-Warning "Commands use your own state in $own, not that of the service: remove it, or add --state-dir `"$state`" to these commands."
    }
}

function Assert-Elevated {
    $me = New-Object Security.Principal.WindowsPrincipal([Security.Principal.WindowsIdentity]::GetCurrent())
    if (-not $me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
        throw 'This needs an elevated PowerShell: right-click Start, choose Terminal (Admin), and run the script there.'
    }
}

function Get-OwnerSid {
    if (-not $Owner) { return [Security.Principal.WindowsIdentity]::GetCurrent().User }
    try {
        return (New-Object Security.Principal.NTAccount($Owner)).Translate([Security.Principal.SecurityIdentifier])
    } catch {
        throw "There is no account named $Owner; write -Owner as MACHINE\name or DOMAIN\name."
    }
}

# Checks the checksum, if there is one, and that the program runs on this machine.
function Assert-GoodProgram {
    if (-not (Test-Path -LiteralPath $Exe -PathType Leaf)) {
        throw "There is no $Exe; put gatelet.exe next to install.ps1 or use -Exe."
    }
    $sums = "$Exe.sha256"
    if (Test-Path -LiteralPath $sums) {
        $expected = ((Get-Content -LiteralPath $sums -TotalCount 1) -split '\s+')[0]
        if ((Get-FileHash -LiteralPath $Exe -Algorithm SHA256).Hash -ne $expected) {
            throw "$Exe is damaged: its SHA-256 is not the one in $sums; copy both again."
        }
    } else {
        Write-Warning "There is no $sums, so $Exe is installed without a check."
    }
    Unblock-File -LiteralPath $Exe
    Invoke-Native $Exe @('version')
}

# Any user can create a directory in %ProgramData%. One that was not created by an administrator
# could contain a configuration of another user.
function Assert-OurState {
    if (-not (Test-Path -LiteralPath $state)) { return }
    $owner = (Get-Acl -LiteralPath $state).GetOwner([Security.Principal.SecurityIdentifier]).Value
    if ($owner -ne $administratorsSid -and $owner -ne $systemSid) {
        throw "$state exists and was not created by an administrator (its owner is $owner). Remove it, or, if all files in it are yours, run: icacls `"$state`" /setowner *$administratorsSid"
    }
}

# The program cannot be replaced while it runs.
function Stop-Old {
    if (Get-Service -Name $service -ErrorAction SilentlyContinue) { Stop-Service -Name $service -Force }
}

function Copy-Program {
    New-Item -ItemType Directory -Path $folder -Force | Out-Null
    # the process ends shortly after the service reports that it stopped
    foreach ($try in 1..20) {
        try {
            Copy-Item -LiteralPath $Exe -Destination $program -Force
            return
        } catch {
            if ($try -eq 20) { throw "cannot replace ${program}: $($_.Exception.Message). Is another gatelet running? Stop it and run this again." }
            Start-Sleep -Milliseconds 500
        }
    }
}

function Set-ServiceEntry {
    $there = Get-CimInstance -ClassName Win32_Service -Filter "Name='$service'"
    $command = Get-CommandLine
    if (-not $there) {
        New-Service -Name $service -BinaryPathName $command -DisplayName 'gatelet gateway' -StartupType Automatic `
            -Description 'Gateway for OpenClaw clients.' | Out-Null
    } elseif (Test-OptionsGiven) {
        $done = Invoke-CimMethod -InputObject $there -MethodName Change -Arguments @{ PathName = $command }
        if ($done.ReturnValue -ne 0) { throw "cannot change the command line of service ${service}: code $($done.ReturnValue)" }
    }
    Invoke-Native sc.exe @('config', $service, 'start=', 'delayed-auto', 'obj=', "NT SERVICE\$service") -Quiet
    Invoke-Native sc.exe @('sidtype', $service, 'unrestricted') -Quiet
    Invoke-Native sc.exe @('privs', $service, 'SeChangeNotifyPrivilege') -Quiet
    Invoke-Native sc.exe @('failure', $service, 'reset=', '86400', 'actions=', 'restart/5000/restart/30000/restart/60000') -Quiet
    # restart also after an error exit, such as for an address that is not available yet
    Invoke-Native sc.exe @('failureflag', $service, '1') -Quiet
}

function Test-OptionsGiven { $Port -or $Bind }

function Test-Open { $Bind -and $Bind -ne 'loopback' }

function Get-OpenPort { if ($Port) { $Port } else { 18789 } }

function Get-CommandLine {
    $line = "`"$program`" service --state-dir `"$state`""
    # the firewall rule contains the port, so the service must use the same
    if ($Port -or (Test-Open)) { $line += " --port $(Get-OpenPort)" }
    if ($Bind) { $line += " --bind $Bind" }
    $line
}

# Replaces the whole access list, so that no right of an earlier owner remains. Files inherit it.
function Set-State([Security.Principal.SecurityIdentifier] $ownerSid) {
    New-Item -ItemType Directory -Path $state -Force | Out-Null
    $serviceSid = (New-Object Security.Principal.NTAccount("NT SERVICE\$service")).Translate([Security.Principal.SecurityIdentifier])
    $administrators = New-Object Security.Principal.SecurityIdentifier($administratorsSid)
    $system = New-Object Security.Principal.SecurityIdentifier($systemSid)
    $list = New-Object Security.AccessControl.DirectorySecurity
    $list.SetOwner($administrators)
    $list.SetAccessRuleProtection($true, $false)
    foreach ($right in @(@($system, 'FullControl'), @($administrators, 'FullControl'), @($serviceSid, 'Modify'), @($ownerSid, 'Modify'))) {
        $rule = New-Object Security.AccessControl.FileSystemAccessRule($right[0], $right[1], 'ContainerInherit, ObjectInherit', 'None', 'Allow')
        $list.AddAccessRule($rule)
    }
    Set-Acl -LiteralPath $state -AclObject $list
}

function Set-Firewall {
    if (-not (Test-OptionsGiven) -and (Get-NetFirewallRule -Name $service -ErrorAction SilentlyContinue)) {
        Write-Host 'Firewall: the rule of the earlier installation is kept.'
        return
    }
    Get-NetFirewallRule -Name $service -ErrorAction SilentlyContinue | Remove-NetFirewallRule
    if (-not (Test-Open)) {
        Write-Host 'Firewall: no rule added; without a different configuration the gateway listens on loopback only (-Bind lan opens it).'
        return
    }
    New-NetFirewallRule -Name $service -DisplayName 'gatelet' -Direction Inbound -Action Allow -Profile Private `
        -Program $program -Protocol TCP -LocalPort (Get-OpenPort) | Out-Null
    Write-Host "Firewall: port $(Get-OpenPort) is open for gatelet on private networks."
    $public = @(Get-NetConnectionProfile -ErrorAction SilentlyContinue | Where-Object { $_.NetworkCategory -eq 'Public' })
    foreach ($network in $public) {
        Write-Warning "The network '$($network.Name)' is marked as public, so its other devices cannot reach gatelet. If it is your own: Set-NetConnectionProfile -InterfaceIndex $($network.InterfaceIndex) -NetworkCategory Private"
    }
}

# Edits the registry, because SetEnvironmentVariable would expand each %SystemRoot% in the list.
function Add-ToPath {
    $key = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey('SYSTEM\CurrentControlSet\Control\Session Manager\Environment', $true)
    try {
        $entries = @("$($key.GetValue('Path', '', 'DoNotExpandEnvironmentNames'))" -split ';' | Where-Object { $_ })
        if ($entries -contains $folder) { return }
        $key.SetValue('Path', (($entries + $folder) -join ';'), 'ExpandString')
    } finally {
        $key.Close()
    }
    # removing a variable that does not exist notifies other programs of the changed environment
    [Environment]::SetEnvironmentVariable('gatelet-installed', $null, 'Machine')
}

function Start-New {
    try {
        Start-Service -Name $service
        foreach ($try in 1..20) {
            & $program health --state-dir $state | Out-Null
            if ($LASTEXITCODE -eq 0) { return }
            Start-Sleep -Milliseconds 500
        }
    } catch {
        Write-Warning $_.Exception.Message
    }
    $log = Join-Path $state 'gatelet.log'
    if (Test-Path -LiteralPath $log) { Get-Content -LiteralPath $log -Tail 10 | ForEach-Object { Write-Host "  $_" } }
    throw "The service does not respond. The lines above are the last of $log. Fix the cause, then: Start-Service $service"
}

function Invoke-Native([string] $file, [string[]] $arguments, [switch] $Quiet) {
    if ($Quiet) { $output = & $file $arguments } else { & $file $arguments; $output = '' }
    if ($LASTEXITCODE -ne 0) { throw "$file $($arguments -join ' ') failed with code ${LASTEXITCODE}. $output" }
}

Main
